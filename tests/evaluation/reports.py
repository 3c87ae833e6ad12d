"""A report with everything that a page can show, made by hand."""

from __future__ import annotations

from langchain_xlm.evaluation.report import (
    Calibration,
    Comparison,
    Confusion,
    Cost,
    DataAccount,
    Figure,
    GroupFigures,
    Machine,
    Report,
    Shown,
    SystemReport,
)


def figure(value: float | None, key: str = "accuracy", better: str | None = "higher") -> Figure:
    spread = None if value is None else 2.5
    return Figure(
        key=key,
        title=key.title(),
        value=value,
        low=None if value is None else value - spread,
        high=None if value is None else value + spread,
        unit="%",
        better=better,
        signature="by hand",
    )


def cost(weights_mib: float, p50_ms: float) -> Cost:
    return Cost(
        import_s=2.0,
        load_s=0.7,
        weights_bytes=int(weights_mib * 2**20),
        peak_bytes=int(weights_mib * 2**21),
        peak_of="process",
        latency_p50_s=p50_ms / 1000,
        latency_p95_s=p50_ms / 500,
        latency_runs=50,
        throughput_texts_per_s=2000 / p50_ms,
        throughput_batch=32,
        device="cpu",
        dtype="float32",
        threads=2,
    )


def system(name: str, value: float, **parts) -> SystemReport:
    groups = tuple(
        GroupFigures(group=group, examples=10, figures=(figure(value + shift),))
        for group, shift in (("de", 1), ("fr & <co>", -2))
    )
    shown = Shown(
        origin="/data/some folder/a.tsv:3",
        text="Was ist <b>das</b>? </script><script>document.title='broken'</script>",
        reference="مرحبا بالعالم",
        output="你好",
        score=0.5,
    )
    return SystemReport(
        name=name,
        figures=(figure(value), figure(None, "ece", "lower")),
        groups=groups,
        best=(shown,),
        worst=(shown,),
        notes={"flagged": 3.0},
        **parts,
    )


def full_report() -> Report:
    models = {"precision": "none", "model": "starter"}
    return Report(
        task="everything </script>",
        settings={"name": "everything", "source_language": "de", "target_language": "en"},
        data=DataAccount(
            files=("a.tsv",), rows=23, skipped={"blank line": 3}, examples=20, fingerprint="f" * 64
        ),
        resamples=1000,
        created="2026-01-02T03:04:05+00:00",
        machine=Machine(system="Test", cores=2, memory_bytes=2**34, versions={"torch": "2"}),
        systems=(
            system(
                "starter",
                71.0,
                cost=cost(40, 10),
                confusion=Confusion(labels=("neg", "pos"), counts=((8, 2), (3, 7))),
                calibration=(
                    Calibration(confidence=0.5, accuracy=0.4, texts=8),
                    Calibration(confidence=0.9, accuracy=0.95, texts=12),
                ),
                similarity=((0.9, 0.1), (0.2, 0.8)),
                failed=2,
                failures=("too long",),
                **models,
            ),
            system("starter · 4bit", 66.0, cost=cost(12, 30), **models),
            system("starter · 8bit", 64.0, cost=cost(20, 20), **models),
            system("always pos", 50.0),
        ),
        comparisons=(
            Comparison(
                key="accuracy",
                first="starter",
                second="starter · 4bit",
                difference=-5.0,
                low=-8.0,
                high=-2.0,
                p_value=0.01,
            ),
        ),
    )

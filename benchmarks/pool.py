"""Resident memory of four tasks on four models of base size, one after another, under a budget.

`python -m benchmarks.pool` makes the models (seeded random weights in the shapes named below, in
32 bits as on the hub, about 4 GB on the disk), runs the tasks, and prints a Markdown table. Linux
only. Memory is read from the kernel every 5 ms: what the process holds itself, and the pages of
files, most of them the weights while they are read, which the kernel takes back when others need
the memory.
"""

from __future__ import annotations

import argparse
import gc
import platform
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_xlm import (
    XLMEmbeddings,
    XLMSentimentTool,
    XLMSummarizationTool,
    XLMTranslationTool,
    loaded_models,
    memory_in_use,
    set_memory_budget,
    unload_models,
)
from tests import tiny_tokenizers as tokenizers

MIB = 2**20
TEXT = "The weather is nice today, and the train to the sea leaves at eleven. " * 4


def encoder(folder: Path, **settings: Any) -> None:
    """XLM-R base: 12 layers of 768, 250,002 pieces; with `num_labels`, a classifier."""
    import transformers

    tokenizers.xlm_roberta_tokenizer(folder, window=512)
    config = transformers.XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1,
        **settings,
    )  # fmt: skip
    if settings:
        transformers.XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    else:
        transformers.XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


def classifier(folder: Path) -> None:
    """XLM-R base with three labels."""
    labels = ("negative", "neutral", "positive")
    encoder(folder, num_labels=3, id2label=dict(enumerate(labels)))


def translator(folder: Path) -> None:
    """M2M100's architecture in base size: 6 and 6 layers of 768, 128,112 pieces."""
    import transformers

    tokenizers.m2m100_tokenizer(folder)
    config = transformers.M2M100Config(
        vocab_size=128_112, d_model=768, encoder_layers=6, decoder_layers=6,
        encoder_attention_heads=12, decoder_attention_heads=12, encoder_ffn_dim=3072,
        decoder_ffn_dim=3072, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        decoder_start_token_id=2, scale_embedding=True,
    )  # fmt: skip
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)


def summarizer(folder: Path) -> None:
    """mT5-small: 8 and 8 layers of 512, 250,112 pieces."""
    import transformers

    tokenizers.mt5_tokenizer(folder)
    config = transformers.MT5Config(
        vocab_size=250_112, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_decoder_layers=8,
        num_heads=6, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    transformers.MT5ForConditionalGeneration(config).save_pretrained(folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "embed": encoder,
    "sentiment": classifier,
    "translate": translator,
    "summarize": summarizer,
}


def resident() -> tuple[float, float]:
    """Read what the process holds itself, and its pages of files, in MiB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return int(values["RssAnon"]) / 1024, int(values["RssFile"]) / 1024


class Watch:
    """Keeps the greatest resident memory inside a `with` block."""

    def __enter__(self) -> Watch:
        self.own, self.whole, self._over = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            own, pages = resident()
            self.own, self.whole = max(self.own, own), max(self.whole, own + pages)


def run(task: str, folder: Path, dtype: str) -> None:
    """Do one task with one model."""
    options: dict[str, Any] = {"model": str(folder), "dtype": dtype}
    if task == "embed":
        XLMEmbeddings(**options).embed_documents([TEXT] * 4)
    elif task == "sentiment":
        XLMSentimentTool(**options).invoke({"text": TEXT})
    elif task == "translate":
        tool = XLMTranslationTool(**options, num_beams=1, max_new_tokens=8)
        tool.invoke({"text": TEXT, "target_language": "de", "source_language": "en"})
    else:
        given = folder == Path("starter")
        summarize = XLMSummarizationTool(
            **options,
            strategy="extractive" if given else "abstractive",
            num_beams=1,
            max_new_tokens=8,
        )
        summarize.invoke({"text": TEXT})


def main() -> None:
    """Make the models, run the tasks, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="700MiB", help="for set_memory_budget; 'none' for none")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--folder", type=Path, help="where models are kept for the next run")
    asked = parser.parse_args()
    import torch
    import transformers

    folder = asked.folder or Path(tempfile.mkdtemp(prefix="langchain-xlm-pool-"))
    for name, build in MODELS.items():
        if not (folder / name / "model.safetensors").exists():
            (folder / name).mkdir(parents=True, exist_ok=True)
            torch.manual_seed(0)
            build(folder / name)
            gc.collect()
    for task in MODELS:  # what is loaded once and stays: code, the starter's models
        run(task, Path("starter"), "float32")
    unload_models()
    set_memory_budget(None if asked.budget == "none" else asked.budget)
    start, pages = resident()
    print(
        f"{platform.machine()}, torch {torch.__version__}, transformers"
        f" {transformers.__version__}; budget {asked.budget}, {asked.dtype}; before:"
        f" {start:,.0f} MiB own, {pages:,.0f} MiB of files\n"
    )
    print("| After | Weights held, MiB | Own, MiB | Peak own | Peak with pages of files |")
    print("|---|---|---|---|---|")
    for task in MODELS:
        with Watch() as watch:
            run(task, folder / task, asked.dtype)
        held = sum(memory_in_use().values()) / MIB
        names = " and ".join(Path(spec.model).name for spec in loaded_models())
        print(
            f"| {task} ({names} loaded) | {held:,.0f} | {resident()[0] - start:+,.0f}"
            f" | {watch.own - start:+,.0f} | {watch.whole - start - pages:+,.0f} |",
            flush=True,
        )
    unload_models()
    print(f"| everything unloaded | 0 | {resident()[0] - start:+,.0f} | | |")


if __name__ == "__main__":
    main()

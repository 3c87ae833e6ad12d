"""What is measured side by side: each system takes the same texts from strings to strings."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Translate = Callable[[Sequence[str], int], list[str]]
"""From English sentences and a number of beams to German ones."""

_BATCH = 16  # what users of `generate` usually take
_CT2_TOKENS = 1_024


@dataclass(frozen=True)
class Job:
    """What all systems are to do.

    Attributes:
        folder: The checkpoint.
        target: Vocabulary token of German.
        tokens: How many tokens each output must have; None where the model ends by itself.
        most: Limit of an output in tokens.
        told: Whether the checkpoint's tokenizer is told the source language.
    """

    folder: Path
    target: str
    tokens: int | None
    most: int
    told: bool


def open_system(name: str, job: Job) -> Translate:
    """Load one of `SYSTEMS`.

    Args:
        name: Its name.
        job: What it is to do.

    Returns:
        A function from sentences to sentences.
    """
    kind, _, numbers = name.partition("-")
    return _OPENERS[kind](job, numbers)


@functools.cache
def _model(folder: Path, numbers: str) -> Any:
    import torch
    from transformers import AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, numbers)).eval()


def _plain(job: Job, numbers: str, batch: int) -> Translate:
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.folder)
    model = _model(job.folder, numbers)
    if job.told:
        tokenizer.src_lang = "en"
    target = tokenizer.convert_tokens_to_ids(job.target)

    def translate(texts: Sequence[str], beams: int) -> list[str]:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        written = [""] * len(texts)
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            inputs = tokenizer(
                [texts[place] for place in places], padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                ids = model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    forced_bos_token_id=target,
                    num_beams=beams,
                    max_new_tokens=job.tokens or job.most,
                    min_new_tokens=job.tokens,
                )
            for place, text in zip(
                places, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True
            ):
                written[place] = text
        return written

    return translate


def _loop(job: Job, numbers: str) -> Translate:
    return _plain(job, numbers, 1)


def _batched(job: Job, numbers: str) -> Translate:
    return _plain(job, numbers, _BATCH)


def _ctranslate2(job: Job, numbers: str) -> Translate:
    """CTranslate2 as its documentation shows it, converted by its own command."""
    import ctranslate2
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer

    folder = job.folder.parent / f"{job.folder.name}-ctranslate2-{numbers}"
    if not folder.exists():
        TransformersConverter(str(job.folder)).convert(
            str(folder), quantization=None if numbers == "float32" else numbers
        )
        gc.collect()
    tokenizer = AutoTokenizer.from_pretrained(job.folder)
    tokenizer.src_lang = "en"
    translator = ctranslate2.Translator(str(folder), intra_threads=torch.get_num_threads())

    def translate(texts: Sequence[str], beams: int) -> list[str]:
        rows = [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(list(texts))["input_ids"]]
        results = translator.translate_batch(
            rows,
            target_prefix=[[job.target]] * len(rows),
            beam_size=beams,
            max_batch_size=_CT2_TOKENS,
            batch_type="tokens",
            max_decoding_length=job.tokens or job.most,
            min_decoding_length=job.tokens or 1,
        )
        ids = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True))

    return translate


def _ours(job: Job, numbers: str) -> Translate:
    from langchain_xlm.engines import generator_session
    from langchain_xlm.engines.generator import GenerationSettings, Generator
    from langchain_xlm.models.config import LoadSpec
    from langchain_xlm.runtime.flow import run_flow

    if job.tokens is not None:
        # Random weights loop as no trained model does, and a loop is written again, which the
        # others do not do.
        generator_session.retries = lambda *_, **__: ()
    backend, _, numbers = numbers.partition("-")
    spec = LoadSpec(
        "seq2seq",
        model="starter" if job.tokens is None else str(job.folder),
        device="cpu",
        backend=backend,
        dtype="auto" if numbers == "int8" else numbers,
        quantization="8bit" if numbers == "int8" else None,
        cache_dir=str(job.folder.parent / "cache") if job.tokens else None,
    )
    generator = Generator(spec)
    settings = GenerationSettings(max_new_tokens=job.tokens or job.most, min_new_tokens=job.tokens)
    run_flow(generator.info(), model="ours")

    def translate(texts: Sequence[str], beams: int) -> list[str]:
        results = run_flow(
            generator.generate(
                texts, source="en", target="de", settings=replace(settings, num_beams=beams)
            ),
            model="ours",
        )
        return [result.text for result in results]

    return translate


_OPENERS: dict[str, Callable[[Job, str], Any]] = {
    "loop": _loop,
    "batched": _batched,
    "ctranslate2": _ctranslate2,
    "ours": _ours,
}

SYSTEMS = {
    "loop-float32": "transformers `generate`, one call a sentence, float32",
    "batched-float32": "transformers `generate`, batches of 16 by length, float32",
    "batched-bfloat16": "transformers `generate`, batches of 16 by length, bfloat16",
    "ctranslate2-float32": "CTranslate2 itself, float32",
    "ctranslate2-int8": "CTranslate2 itself, int8",
    "ours-torch-float32": "langchain-xlm, `backend='torch'`, float32",
    "ours-torch-bfloat16": "langchain-xlm, `backend='torch'`, bfloat16",
    "ours-ctranslate2-float32": "langchain-xlm, `backend='ctranslate2'`, float32",
    "ours-ctranslate2-int8": "langchain-xlm, `backend='ctranslate2'`, `'8bit'`",
}
"""What each system is, in the words of the table."""

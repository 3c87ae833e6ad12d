"""Tiny seeded checkpoints of every family, as real folders that stock transformers loads.

`tiny_checkpoint("nllb", folder)` writes one. The weights are random but the same on every call;
the tokenizers are real (see `tests/tiny_tokenizers.py`). Kinds and the options each takes:

| kind | options |
|---|---|
| `xlm`, `xlm-classifier` | `window`, `labels` (classifier) |
| `xlm-roberta`, `bert`, `xlm-roberta-xl` | `window`, `pooler` |
| `xmod` | `window`, `pooler`, `default_language` |
| `sentence-encoder` (XLM-R with the files | `window`, `pooling`, `prompts`, `normalize`, |
| of sentence-transformers) | `dense_width`, `max_seq_length`, `include_prompt` |
| `xlm-roberta-classifier` | `window`, `labels` |
| `xlm-roberta-cross-encoder` | `window` |
| `encoder-decoder` | `window`, `languages` |
| `m2m100`, `nllb`, `mbart50`, `mt5` | `window` |
| `marian` (English to many), `marian-pair` (English to German) | `window`, `targets` (marian) |

All take `seed`. Two checkpoints with different seeds have different weights and one tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests import tiny_tokenizers as tokenizers

SENTIMENT_LABELS = ("negative", "neutral", "positive")
WINDOW = 128

# 4-bit weights come in blocks of 64, and on some CPUs every row must be whole blocks.
WIDTH = 64
SENTENCE_WIDTH = 32

_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 2 * WIDTH,
    "hidden_dropout_prob": 0.1,
}
_SEQ2SEQ_SIZES = {
    "d_model": WIDTH,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
    "init_std": 0.3,
}


def tiny_checkpoint(kind: str, folder: Path, *, seed: int = 0, **options: Any) -> Path:
    """Write the checkpoint `kind` into `folder` and return the folder.

    Args:
        kind: One of `KINDS`.
        folder: Where the files go; made if missing.
        seed: Seed of the weights.
        options: See the table at the top of this module.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _BUILDERS[kind](folder, **options)
    return folder


def _roberta_settings(vocabulary: int, window: int) -> dict[str, Any]:
    return {
        **_SIZES,
        "vocab_size": vocabulary,
        # Positions start after the padding index, which costs two rows.
        "max_position_embeddings": window + 2,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        # Wide enough that vectors of different texts differ clearly.
        "initializer_range": 0.3,
    }


def _xlm_roberta(
    folder: Path, *, window: int = WINDOW, pooler: bool = False, width: int = WIDTH
) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    size = tokenizers.xlm_roberta_tokenizer(folder, window=window)
    config = XLMRobertaConfig(**_roberta_settings(size, window) | {"hidden_size": width})
    XLMRobertaModel(config, add_pooling_layer=pooler).save_pretrained(folder)


def _bert(folder: Path, *, window: int = WINDOW, pooler: bool = True) -> None:
    from transformers import BertConfig, BertModel

    size = tokenizers.bert_tokenizer(folder, window=window)
    settings = {**_roberta_settings(size, window), "max_position_embeddings": window}
    config = BertConfig(**settings, tokenizer_class="XLMRobertaTokenizer")
    BertModel(config, add_pooling_layer=pooler).save_pretrained(folder)


def _xlm_roberta_xl(folder: Path, *, window: int = WINDOW, pooler: bool = False) -> None:
    from transformers import XLMRobertaXLConfig, XLMRobertaXLModel

    size = tokenizers.xlm_roberta_tokenizer(folder, window=window)
    config = XLMRobertaXLConfig(**_roberta_settings(size, window))
    XLMRobertaXLModel(config, add_pooling_layer=pooler).save_pretrained(folder)


def _xmod(
    folder: Path,
    *,
    window: int = WINDOW,
    pooler: bool = False,
    default_language: str | None = None,
) -> None:
    from transformers import XmodConfig, XmodModel

    size = tokenizers.xlm_roberta_tokenizer(folder, window=window)
    config = XmodConfig(
        **_roberta_settings(size, window),
        languages=["en_XX", "de_DE", "fr_XX"],
        default_language=default_language,
        adapter_reduction_factor=1,
    )
    XmodModel(config, add_pooling_layer=pooler).save_pretrained(folder)


def _sentence_encoder(
    folder: Path,
    *,
    window: int = WINDOW,
    pooling: str | Sequence[str] = "mean",
    prompts: dict[str, str] | None = None,
    normalize: bool = True,
    dense_width: int | None = None,
    max_seq_length: int | None = None,
    include_prompt: bool = True,
) -> None:
    import torch
    from safetensors.torch import save_file

    _xlm_roberta(folder, window=window, width=SENTENCE_WIDTH)
    chosen = {pooling} if isinstance(pooling, str) else set(pooling)
    names = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "max": "pooling_mode_max_tokens",
        "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
        "weightedmean": "pooling_mode_weightedmean_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    if chosen - names.keys():
        raise KeyError(f"no such pooling: {sorted(chosen - names.keys())}")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    pooling_config = {
        "word_embedding_dimension": SENTENCE_WIDTH,
        "include_prompt": include_prompt,
    } | {key: name in chosen for name, key in names.items()}
    _write_json(folder / "1_Pooling" / "config.json", pooling_config)
    if dense_width is not None:
        modules.append(("2_Dense", "Dense"))
        _write_json(
            folder / "2_Dense" / "config.json",
            {
                "in_features": SENTENCE_WIDTH * len(chosen),
                "out_features": dense_width,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )
        weights = {
            "linear.weight": torch.randn(dense_width, SENTENCE_WIDTH * len(chosen)) * 0.2,
            "linear.bias": torch.randn(dense_width) * 0.2,
        }
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    _write_json(
        folder / "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for index, (path, kind) in enumerate(modules)
        ],
    )
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": window if max_seq_length is None else max_seq_length},
    )
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": prompts or {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
            "model_type": "SentenceTransformer",
        },
    )


def _classifier(
    folder: Path, *, window: int = WINDOW, labels: Sequence[str] = SENTIMENT_LABELS
) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    size = tokenizers.xlm_roberta_tokenizer(folder, window=window)
    config = XLMRobertaConfig(**_roberta_settings(size, window), **_label_settings(labels))
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)


def _cross_encoder(folder: Path, *, window: int = WINDOW) -> None:
    _classifier(folder, window=window, labels=("LABEL_0",))


def _xlm_config(size: int, window: int, **settings: Any) -> Any:
    from transformers import XLMConfig

    return XLMConfig(
        vocab_size=size,
        emb_dim=WIDTH,
        n_layers=2,
        n_heads=4,
        n_langs=len(tokenizers.LANGUAGES),
        use_lang_emb=True,
        lang2id={language: index for index, language in enumerate(tokenizers.LANGUAGES)},
        max_position_embeddings=window,
        embed_init_std=0.3,
        init_std=0.3,
        bos_index=0,
        eos_index=1,
        pad_index=2,
        unk_index=3,
        mask_index=5,
        pad_token_id=2,
        bos_token_id=0,
        mask_token_id=5,
        **settings,
    )


def _xlm(folder: Path, *, window: int = WINDOW) -> None:
    from transformers import XLMModel

    size = tokenizers.xlm_tokenizer(folder, window=window, languages=tokenizers.LANGUAGES)
    XLMModel(_xlm_config(size, window)).save_pretrained(folder)


def _xlm_classifier(
    folder: Path, *, window: int = WINDOW, labels: Sequence[str] = SENTIMENT_LABELS
) -> None:
    from transformers import XLMForSequenceClassification

    size = tokenizers.xlm_tokenizer(folder, window=window, languages=tokenizers.LANGUAGES)
    config = _xlm_config(size, window, **_label_settings(labels))
    XLMForSequenceClassification(config).save_pretrained(folder)


def _encoder_decoder(
    folder: Path,
    *,
    window: int = WINDOW,
    languages: tuple[str, ...] = tokenizers.LANGUAGES,
) -> None:
    from transformers import (
        EncoderDecoderConfig,
        EncoderDecoderModel,
        GenerationConfig,
        XLMRobertaConfig,
    )

    size = tokenizers.xlm_roberta_tokenizer(folder, window=window, languages=languages)
    settings = _roberta_settings(size, window)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        XLMRobertaConfig(**settings),
        XLMRobertaConfig(**settings, is_decoder=True, add_cross_attention=True),
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    model = EncoderDecoderModel(config=config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=2, pad_token_id=1, bos_token_id=0, eos_token_id=2
    )
    model.save_pretrained(folder)


def _m2m100(folder: Path, *, window: int = 1024) -> None:
    size = tokenizers.m2m100_tokenizer(folder)
    _save_m2m100(folder, size, window)


def _nllb(folder: Path, *, window: int = 1024) -> None:
    size = tokenizers.nllb_tokenizer(folder)
    _save_m2m100(folder, size, window)


def _save_m2m100(folder: Path, size: int, window: int) -> None:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(
        **_SEQ2SEQ_SIZES,
        vocab_size=size,
        max_position_embeddings=window,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        scale_embedding=True,
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)


def _mbart50(folder: Path, *, window: int = 1024) -> None:
    from transformers import MBartConfig, MBartForConditionalGeneration

    size = tokenizers.mbart50_tokenizer(folder)
    config = MBartConfig(
        **_SEQ2SEQ_SIZES,
        vocab_size=size,
        max_position_embeddings=window,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        tokenizer_class="MBart50Tokenizer",
    )
    MBartForConditionalGeneration(config).save_pretrained(folder)


def _mt5(folder: Path) -> None:
    from transformers import MT5Config, MT5ForConditionalGeneration

    size = tokenizers.mt5_tokenizer(folder)
    config = MT5Config(
        vocab_size=size,
        d_model=WIDTH,
        d_kv=16,
        d_ff=2 * WIDTH,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        initializer_factor=1.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    MT5ForConditionalGeneration(config).save_pretrained(folder)


def _marian(
    folder: Path,
    *,
    window: int = 512,
    targets: tuple[str, ...] = ("deu", "fra", "spa", "nld", "por", "ita"),
    source_lang: str = "eng",
    target_lang: str = "mul",
) -> None:
    from transformers import MarianConfig, MarianMTModel

    size = tokenizers.marian_tokenizer(
        folder, targets=targets, source_lang=source_lang, target_lang=target_lang, window=window
    )
    config = MarianConfig(
        **_SEQ2SEQ_SIZES,
        vocab_size=size,
        max_position_embeddings=window,
        pad_token_id=size - 1,
        eos_token_id=0,
        bos_token_id=0,
        decoder_start_token_id=size - 1,
        forced_eos_token_id=0,
        scale_embedding=True,
        static_position_embeddings=True,
    )
    MarianMTModel(config).save_pretrained(folder)


def _marian_pair(folder: Path, *, window: int = 512) -> None:
    _marian(folder, window=window, targets=(), source_lang="en", target_lang="de")


def _label_settings(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


_BUILDERS: dict[str, Callable[..., None]] = {
    "xlm": _xlm,
    "xlm-classifier": _xlm_classifier,
    "xlm-roberta": _xlm_roberta,
    "bert": _bert,
    "sentence-encoder": _sentence_encoder,
    "xlm-roberta-classifier": _classifier,
    "xlm-roberta-cross-encoder": _cross_encoder,
    "xlm-roberta-xl": _xlm_roberta_xl,
    "xmod": _xmod,
    "encoder-decoder": _encoder_decoder,
    "m2m100": _m2m100,
    "nllb": _nllb,
    "mbart50": _mbart50,
    "mt5": _mt5,
    "marian": _marian,
    "marian-pair": _marian_pair,
}

KINDS = tuple(_BUILDERS)

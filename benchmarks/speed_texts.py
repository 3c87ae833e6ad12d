"""Texts of mixed lengths for measuring speed: real sentences, lengths as in a document store."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.__main__ import SENTENCES
from langchain_xlm.cli.demo_texts import ARTICLE, OPINIONS

QUERY = "Where does the train to the river leave on Sunday?"

_BY_LANGUAGE = (
    (
        "The ferry crosses the lake twice an hour.",
        "In winter it stays in the harbour, and people walk over the ice.",
        "My grandfather was its captain for thirty years.",
        "He knew every stone on the bottom and every bird on the shore.",
        "Today a computer steers, but somebody still rings the bell.",
    ),
    (
        "Die Werkstatt liegt im Hof hinter der alten Schule.",
        "Dort werden Fahrräder, Lampen und manchmal auch Herzen repariert.",
        "Wer etwas Kaputtes bringt, bekommt Werkzeug und eine Tasse Kaffee.",
        "Am Samstag kommen so viele Leute, dass die Schlange bis zur Straße reicht.",
        "Die Nachbarn beschweren sich nicht, denn sie stehen selbst darin.",
    ),
    (
        "Le marché commence avant le lever du soleil.",
        "Les pêcheurs arrivent les premiers, avec leurs caisses pleines de glace.",
        "Une vieille dame vend du miel qu'elle récolte derrière sa maison.",
        "À midi, tout est fini et la place redevient silencieuse.",
        "Il ne reste que les pigeons et quelques feuilles de salade.",
    ),
    (
        "El faro se construyó sobre una roca lejos de la costa.",
        "Durante las tormentas nadie podía llegar hasta allí.",
        "El último guardián escribió un diario que hoy está en el museo.",
        "En él cuenta cómo las ballenas pasaban cada primavera.",
        "Los niños del pueblo todavía conocen sus historias de memoria.",
    ),
    (
        "De molen aan het kanaal maalt weer graan.",
        "Vrijwilligers hebben er acht jaar aan gewerkt.",
        "Het meel wordt verkocht aan de bakker om de hoek.",
        "Bij weinig wind staat hij stil en komen de toeristen voor niets.",
        "De molenaar zegt dat je van wachten rustig wordt.",
    ),
    (
        "Dağdaki köye kışın yalnızca yürüyerek gidilir.",
        "Öğretmen her sabah çocukları sobanın yanında bekler.",
        "Geçen yıl köye ilk kez internet geldi.",
        "Artık yaşlılar torunlarını ekranda görüp gülüyorlar.",
        "Yine de herkes akşamları kahvede toplanmayı sever.",
    ),
    (
        "その駅には一日に三本しか電車が止まりません。",
        "駅員はいませんが、近所の人が毎朝花に水をやります。",
        "夏になると、遠くから写真を撮りに来る人が増えます。",
        "待合室には古い時計と、誰でも読める本が置いてあります。",
        "電車が遅れても、怒る人はほとんどいません。",
    ),
    (
        "河边的茶馆已经开了一百多年。",
        "老板每天早上四点起来烧水。",
        "客人们一边下棋，一边谈论天气和物价。",
        "有的人坐一整天，只喝一壶茶。",
        "下雨的时候，屋里总是坐满了人。",
    ),
)
"""The same number of sentences in English, German, French, Spanish, Dutch, Turkish, Japanese and
Chinese."""


def mixed_texts(count: int, *, seed: int = 0, words: float = 42.0, most: int = 330) -> list[str]:
    """Make texts of log-normal lengths, most of them short and a few near 512 tokens.

    Args:
        count: How many.
        seed: Equal seeds give equal texts.
        words: The middle length.
        most: The greatest, in words.

    Returns:
        The texts.
    """
    chance = random.Random(seed)
    pool = " ".join([ARTICLE, *OPINIONS, *SENTENCES]).split()
    texts = []
    for _ in range(count):
        length = min(most, max(3, round(words * chance.lognormvariate(0.0, 1.0))))
        start = chance.randrange(len(pool) - length)
        texts.append(" ".join(pool[start : start + length]))
    return texts


def multilingual_texts(count: int, *, seed: int = 0, sentences: float = 3.4) -> list[str]:
    """Make texts in eight languages, each text in one, their lengths log-normal.

    A token stands for one or two characters of Japanese and for four or five of German: whoever
    sorts texts by characters does not sort them by tokens.

    Args:
        count: How many.
        seed: Equal seeds give equal texts.
        sentences: The middle length.

    Returns:
        The texts; a few are longer than 512 tokens.
    """
    chance = random.Random(seed)
    texts = []
    for _ in range(count):
        length = min(60, max(1, round(sentences * chance.lognormvariate(0.0, 1.0))))
        texts.append(" ".join(chance.choices(chance.choice(_BY_LANGUAGE), k=length)))
    return texts


def token_counts(folder: Path, texts: list[str], *, most: int | None = 512) -> list[int]:
    """Count the tokens of each text, those that a model would cut off left out.

    Args:
        folder: Checkpoint whose tokenizer counts.
        texts: What to count.
        most: The model's limit; None counts all.

    Returns:
        Numbers of tokens, special ones included.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
    return counts if most is None else [min(most, count) for count in counts]

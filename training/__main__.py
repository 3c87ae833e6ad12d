"""The command line of the recipe: `python -m training STAGE... --data DATA --work WORK`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training import (
    curves,
    encoder,
    evaluate,
    export,
    polarity,
    teacher,
    traditional,
    translation,
    vocabulary,
)
from training.corpus import read_corpus, read_sentiment
from training.progress import record_to
from training.recipe import DEFAULT_PATH, read_recipe

STAGES = ("vocabulary", "teacher", "encoder", "translation", "export", "evaluate", "curves")
SHIPPED = Path(__file__).parent.parent / "langchain_xlm" / "models" / "starter"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "stages",
        nargs="+",
        choices=(*STAGES, "all", "smoke"),
        help="stages to run; 'all' for every one in order; 'smoke' for every one in small",
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the data folder")
    parser.add_argument(
        "--work", type=Path, default=Path("build/starter"), help="kept between runs"
    )
    parser.add_argument("--recipe", type=Path, default=DEFAULT_PATH, help="hyper-parameters")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        help="where checkpoints are exported to and measured (default: WORK/checkpoints)",
    )
    parser.add_argument(
        "--begin-with",
        type=Path,
        help="a folder of exported checkpoints from which a new training goes on",
    )
    parser.add_argument(
        "--average",
        type=Path,
        nargs="+",
        help="work folders of finished runs from one beginning: the stage 'encoder' takes the mean "
        "of their last weights and trains nothing",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--encoder-minutes", type=float, help="instead of the recipe's")
    parser.add_argument("--translation-minutes", type=float, help="instead of the recipe's")
    parser.add_argument("--part", nargs="+", choices=evaluate.PARTS, help="what to evaluate")
    parser.add_argument("--sentences", type=int, help="per direction; instead of the recipe's")
    parser.add_argument("--quantization", choices=evaluate.QUANTIZATIONS, default="none")
    return parser.parse_args()


def main() -> None:
    """Run the stages asked for, in the order of the recipe."""
    arguments = parse()
    smoke = "smoke" in arguments.stages
    every = smoke or "all" in arguments.stages
    stages = [stage for stage in STAGES if every or stage in arguments.stages]
    recipe = read_recipe(arguments.recipe, smoke=smoke)
    for section, name in (("encoder", "minutes"), ("translation", "minutes")):
        minutes = getattr(arguments, f"{section}_minutes")
        if minutes is not None:
            changed = dataclasses.replace(getattr(recipe, section), **{name: minutes})
            recipe = dataclasses.replace(recipe, **{section: changed})
    if arguments.sentences is not None:
        changed = dataclasses.replace(recipe.evaluate, sentences=arguments.sentences)
        recipe = dataclasses.replace(recipe, evaluate=changed)
    data, work = arguments.data, arguments.work / "smoke" if smoke else arguments.work
    checkpoints = arguments.checkpoints or work / "checkpoints"
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    record_to(work / "log.jsonl")

    if set(stages) & {"vocabulary", "teacher", "encoder", "translation", "export"}:
        corpus = read_corpus(data, recipe.corpus)
        sentiment, _ = read_sentiment(data, recipe.corpus)
        tokenizer = learner = vocabulary.run(corpus, sentiment, work, recipe.vocabulary)
    if "teacher" in stages or ("encoder" in stages and not arguments.average):
        vectors = teacher.run(corpus, work, recipe.teacher, device)
    begun = arguments.begin_with
    if begun:  # The weights go with the tokenizer that they were exported with.
        learner = Tokenizer.from_file(str(begun / "encoder" / "tokenizer.json"))
    if "encoder" in stages and arguments.average:
        encoder.average_runs(arguments.average, work)
    elif "encoder" in stages:
        begin = export.read_encoder(begun / "encoder") if begun else None
        encoder.run(corpus, sentiment, learner, vectors, work, recipe.encoder, device, begin)
    if set(stages) & {"translation", "export"}:
        encoder_is_ours = export.is_finished(work, "encoder")
        student = (
            export.load_encoder(work)
            if encoder_is_ours or not begun
            else export.read_encoder(begun / "encoder")
        )
    if "translation" in stages:
        begin = export.read_translation(begun / "translation") if begun else None
        translation.run(corpus, student, learner, work, recipe.translation, device, begin)
    if "export" in stages:
        widened = traditional.widen(tokenizer, traditional.used(tokenizer, corpus, sentiment))
        if begun and widened.tokenizer.get_vocab() != learner.get_vocab():
            raise SystemExit(
                f"the vocabulary of {work} with traditional Chinese is not that of {begun}: export "
                "with the data and the recipe that those checkpoints were made with"
            )
        if export.is_finished(work, "translation"):
            model = export.load_translation(work, student, recipe.translation)
            folder = checkpoints / "translation"
            export.export_translation(model, widened, folder, recipe.translation)
        if encoder_is_ours:
            polarity.run(student, sentiment, learner, work, recipe.head, device)
            export.export_encoder(student, widened, checkpoints / "encoder", recipe.encoder)
    if "evaluate" in stages:
        parts = arguments.part or list(evaluate.PARTS)
        if smoke and not arguments.part:
            parts = ["jsts", "nusax", "translation"]
        evaluate.run(
            data, checkpoints, work, recipe, parts=parts, quantization=arguments.quantization
        )
    if "curves" in stages:
        curves.run(work / "log.jsonl", work / "curves")


if __name__ == "__main__":
    main()

"""The run files of training/: keys, data, and how many frames the study's sets have."""

from pathlib import Path

import pytest

from jaxdiff.finetune.scratch import with_family
from jaxdiff.io.frames import draw, read_frames
from jaxdiff.io.trainfile import read_train_file

RECIPES = sorted((Path(__file__).parents[2] / "training").rglob("*.toml"))
STUDY = {  # target and replay frames, as the study's names say
    "ft200_pt0": (210, 0),
    "ft200_pt100": (210, 100),
    "ft200_pt1000": (210, 900),  # and 100 for validation
    "step0": (76, 0),
    "ft1": (156, 0),
    "ft2": (144, 0),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid_and_their_data_are_there(path, shared):
    run = with_family(read_train_file(path, shared / "data"))
    assert run.directory.parts[0] == "runs"
    if path.stem == "li2o":  # training/li2o.py makes its frames
        return
    files = [*run.data.train, *run.data.valid, *sum(run.data.test.values(), [])]
    if run.replay:
        files += [*run.replay.train, *run.replay.valid]
    assert [file for file in files if not file.exists()] == []


def test_sets_of_the_study(shared):
    found = {}
    for path in RECIPES:
        if path.parent.name == "study":
            run = read_train_file(path, shared / "data")
            frames = read_frames(run.data.train)
            if run.data.frames_of_type:
                frames, _ = draw(frames, run.data.frames_of_type, run.draw_seed)
            replay = read_frames(run.replay.train) if run.replay else []
            count = run.replay.count if run.replay else None
            found[path.stem] = (len(frames), count or len(replay))
    assert found == STUDY

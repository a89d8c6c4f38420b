"""One program gives what padded execution gives, from every branch, wherever it is cut."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packed_output import COARSE, same

from smarttrim_jax.execution.config import CutConfig
from smarttrim_jax.execution.cuts import Cut, Shares, choose_cuts, spread_cuts
from smarttrim_jax.execution.one_program import packed_apply
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.models.segments import LayerRun
from smarttrim_jax.trimming.gates import Trim

SMALL = ({"image": Shares(0.3, 0.5)}, {"image": Shares(0.6, 0.8), "text": Shares(0.8, 1.0)})


@pytest.mark.parametrize("rows", [pytest.param([2], marks=pytest.mark.slow), [0, 1, 2, 3]])
def test_equals_the_padded_execution_at_every_turn_of_the_dial(tiny_meter, rows):
    cuts = tuple(Cut(run, layer, SMALL) for run, layer in [("image", 0), ("image", 2), ("text", 1), ("fusion", 1)])
    program = jax.jit(functools.partial(packed_apply, tiny_meter.model, cuts, 4))
    kept = []
    for offset in (1e3, -2.5, -4.0, -1e3):
        trim = Trim(offset=jnp.float32(offset))
        expected = tiny_meter.run(trim)
        same(program(tiny_meter.params, *[part[rows] for part in tiny_meter.batch], trim), expected, np.array(rows))
        kept.append(float(expected.record.gates["image", "image"].tokens[-1].mean()))
    assert kept[0] == 1.0  # the dial has led through the largest branch and the smallest
    assert kept[-1] < 0.1


@pytest.fixture(scope="module")
def closing_record(tiny_meter, closing):
    """What four examples keep."""
    return tiny_meter.run(closing).record


def test_chosen_cuts_give_what_the_padded_execution_gives(tiny_meter, closing, closing_record):
    cuts = choose_cuts(tiny_meter.model.bind(tiny_meter.params).stages, closing_record, 4, CutConfig(branches=1))
    assert cuts
    program = jax.jit(functools.partial(packed_apply, tiny_meter.model, cuts, 4))
    same(program(tiny_meter.params, *tiny_meter.batch, jax.tree.map(jnp.float32, closing)), tiny_meter.run(closing))


def test_cuts_lie_where_layers_trim_and_hold_what_drawn_batches_keep(tiny_meter, closing_record):
    stages = tiny_meter.model.bind(tiny_meter.params).stages
    runs = {run.name: run for run in stages if isinstance(run, LayerRun)}
    random = np.random.default_rng(0)
    for _ in range(40):
        most, branches, batch_size = (int(random.integers(*bounds)) for bounds in ((0, 7), (1, 5), (1, 65)))
        margin = float(random.uniform())
        cuts = choose_cuts(stages, closing_record, batch_size, CutConfig(most=most, branches=branches, margin=margin))
        assert len(cuts) <= most
        places = [(list(runs).index(cut.run), cut.layer) for cut in cuts]
        assert places == sorted(set(places))
        for cut in cuts:
            run = runs[cut.run]
            assert run.first_layer <= cut.layer < run.depth
            assert len(cut.branches) == branches == len({tuple(branch.items()) for branch in cut.branches})
            for number, branch in enumerate(cut.branches):
                for side, (share, longest) in branch.items():
                    assert 0 < share <= longest + 1e-9 <= 1 + 1e-9
                    if number == 0 and side in run.side_names:
                        kept = (np.asarray(closing_record.gates[run.key(side)].tokens[cut.layer]) > 0).mean(axis=1)
                        assert longest <= min(kept.max() * (1 + margin), 1) + 1e-6


def test_the_executor_learns_its_cuts_from_what_it_is_given_first(tiny_meter, closing):
    executor = OneProgramExecutor(tiny_meter.model, tiny_meter.params, COARSE)
    same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))
    assert executor.cuts(4) == ()
    assert (executor.description, executor.compiled) == ("one_program, whose first 1 batches run padded,", 0)
    same(executor(*tiny_meter.batch, trim=closing), tiny_meter.run(closing))
    assert executor.cuts(4)
    assert (executor.description, executor.compiled) == ("one_program", 1)
    full = executor(*tiny_meter.batch)
    np.testing.assert_allclose(full.logits["vqa"], tiny_meter.run(None).logits["vqa"], atol=1e-5)
    executor.calibrate([tiny_meter.batch], trim=Trim(offset=1e3))
    # Nothing is closed there but padding.
    assert all(branch["image"] == (1.0, 1.0) for cut in executor.cuts(4) for branch in cut.branches)


def test_texts_of_other_lengths_disturb_neither_the_cuts_nor_the_answers(tiny_meter, closing):
    config = dataclasses.replace(COARSE, cuts=CutConfig(first=2, most=1, branches=1))
    executor = OneProgramExecutor(tiny_meter.model, tiny_meter.params, config)
    images, ids, mask = tiny_meter.batch
    longer = images, np.pad(ids, ((0, 0), (0, 2))), np.pad(mask, ((0, 0), (0, 2)))
    for batch in (longer, tiny_meter.batch, tiny_meter.batch, longer):
        output = executor(*batch, trim=closing)
        np.testing.assert_allclose(output.logits["vqa"], tiny_meter.run(closing).logits["vqa"], atol=1e-5)
    assert executor.compiled == 1


def test_a_model_that_trims_nowhere_is_not_cut(tiny_meter, closing_record):
    runs = [run for run in tiny_meter.model.bind(tiny_meter.params).stages if isinstance(run, LayerRun)]
    stages = [dataclasses.replace(run, policies={}) for run in runs]
    assert choose_cuts(stages, closing_record, 4) == spread_cuts(stages) == ()


def test_spread_cuts_hold_more_from_branch_to_branch(tiny_meter):
    stages = tiny_meter.model.bind(tiny_meter.params).stages
    trimming = sum(run.depth - run.first_layer for run in stages if isinstance(run, LayerRun))
    for most in range(trimming + 3):
        cuts = spread_cuts(stages, CutConfig(most=most, branches=2))
        assert len(cuts) == min(most, trimming)
        for cut in cuts:
            few, many = (branch["image"] for branch in cut.branches)
            assert few == Shares(0.25, 0.375)
            assert many == Shares(0.5, 0.75)
    assert {side for cut in cuts for side in cut.branches[0]} == {"image", "text"}


@pytest.mark.parametrize(("rows", "length"), [(1, 5), (2, 3), (1, 3)])
def test_texts_of_a_few_tokens_lower_for_every_platform(tiny_meter, rows, length):
    images, ids, mask = (part[:rows] for part in tiny_meter.batch)
    model = tiny_meter.model.scanned()
    cuts = spread_cuts(model.bind(tiny_meter.params).stages, COARSE.cuts)
    program = jax.jit(functools.partial(packed_apply, model, cuts, 8, tiny_meter.params))
    exported = jax.export.export(program, platforms=("cpu", "cuda", "tpu"))
    assert exported(images[..., :8, :8, :], ids[:, :length], mask[:, :length], Trim()).serialize

import optuna
import pytest

from raypipe import models
from raypipe.errors import TrainingError
from raypipe.spec import Model, Search, parameters
from raypipe.spec.search import choice, integer, log, uniform
from raypipe.spec.values import FrozenMap
from raypipe.training.space import DEFAULTS, Space
from raypipe.training.trainers import TRAINERS
from raypipe.training.trainers.lightgbm import PARAMETERS


def drawn(space, seed=0, trials=60):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [space.draw(study.ask()) for _ in range(trials)]


def test_lint_knows_the_parameters_that_there_are():
    assert parameters.PARAMETERS["lightgbm"] == PARAMETERS
    for algorithm, known in DEFAULTS.items():
        own = set(parameters.PARAMETERS[algorithm].values())
        assert known.keys() <= own & parameters.LIMITS.keys()
        whole = {name for name, default in known.items() if isinstance(default.first, int)}
        assert whole == {name for name in known if parameters.LIMITS[name].whole}
        if algorithm != "lightgbm":
            assert known.keys() == own


def test_every_trainer_has_defaults_and_every_default_a_trainer():
    assert DEFAULTS.keys() == TRAINERS.keys() - {"ensemble", "segments"}  # made of others


def test_the_algorithm_is_drawn_and_brings_only_its_own_parameters():
    space = Space.of(Search([models.LightGBM(), models.Network(), models.Linear()]))
    points = drawn(space)
    assert {point["algorithm"] for point in points} == {"lightgbm", "network", "linear"}
    for point in points:
        assert point["params"].keys() == DEFAULTS[point["algorithm"]].keys()


def test_a_constant_fixes_and_a_range_replaces():
    network = models.Network(
        hidden=32, dropout=uniform(0.5, 0.6), layers=integer(2, 2 + 1), learning_rate=log(1e-5, 1e-4)
    )
    points = [point["params"] for point in drawn(Space.of(Search([network])))]
    assert {point["hidden"] for point in points} == {32}
    assert all(0.5 <= point["dropout"] <= 0.6 and 1e-5 <= point["learning_rate"] <= 1e-4 for point in points)
    assert {point["layers"] for point in points} == {2, 3}
    assert all(isinstance(point["layers"], int) for point in points)


def test_lightgbm_parameters_go_by_any_of_their_names():
    space = Space.of(Search([models.LightGBM(n_estimators=50, min_child_samples=integer(5, 9))]))
    points = [point["params"] for point in drawn(space)]
    assert {point["num_iterations"] for point in points} == {50}
    assert all(5 <= point["min_data_in_leaf"] <= 9 for point in points)
    assert points[0].keys() == DEFAULTS["lightgbm"].keys()


def test_each_algorithm_is_tried_first_with_its_defaults():
    space = Space.of(Search([models.LightGBM(num_leaves=7), models.Linear()]))
    first = space.first()
    assert [point["algorithm"] for point in first] == ["lightgbm", "linear"]
    assert first[1]["linear.C"] == DEFAULTS["linear"]["C"].first
    assert "lightgbm.num_leaves" not in first[0]


@pytest.mark.parametrize(
    ("given", "first"),
    [
        (uniform(0.0, 0.4), 0.1),  # holds the default
        (uniform(0.2, 0.4), 0.3),
        (log(0.2, 0.45), 0.3),
        (choice(0.2, 0.3), 0.2),
        (choice(0.3, 0.1), 0.1),  # holds the default
    ],
)
def test_the_first_value_lies_in_the_given_range(given, first):
    space = Space.of(Search([models.Network(dropout=given)]))
    assert space.first()[0]["network.dropout"] == pytest.approx(first)


def test_the_middle_of_whole_numbers_is_whole():
    assert Space.of(Search([models.Network(layers=integer(4, 7))])).first()[0]["network.layers"] == 6


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (models.Network(hiden=3), r"network takes no parameter `hiden`. Did you mean `hidden`\?"),
        (models.LightGBM(num_leavs=3), r"lightgbm takes no parameter `num_leavs`. Did you mean `num_leaves`\?"),
        (models.LightGBM(lambda_l2=3, reg_lambda=2), r"lightgbm: `lambda_l2` is given twice"),
        (models.LightGBM(objective="regression"), r"lightgbm takes no parameter `objective`"),
        (Model("boost", FrozenMap()), r"unknown algorithm `boost`"),
    ],
)
def test_a_name_that_is_not_known_is_told(model, said):
    with pytest.raises(TrainingError, match=said):
        Space.of(Search([model]))


def test_a_search_without_models_or_with_too_few_trials_or_the_same_model_twice_is_told():
    with pytest.raises(TrainingError, match="has no models"):
        Space.of(Search([]))
    with pytest.raises(TrainingError, match="1 trial cannot try 2 models"):
        Space.of(Search([models.LightGBM(), models.Linear()], trials=1))
    with pytest.raises(TrainingError, match="`linear` is in the search twice"):
        Space.of(Search([models.Linear(), models.Linear(C=1.0)]))

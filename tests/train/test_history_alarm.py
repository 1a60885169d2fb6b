from clip_italian.train.history import Regression, alarm, describe


def at(stage, loss, mrr, rank=5.0):
    return {"stage": stage, "step": 0, "validation_loss": loss, "MRR@10": mrr, "median_rank": rank, "queries": 10}


START = at("untrained", 5.0, 0.10)


def test_better_figures_raise_no_alarm():
    assert alarm([]) == []
    assert alarm([START, at("a", 5.0, 0.10), at("a", 4.0, 0.20, 3.0)]) == []


def test_losses_and_ranks_fall_by_growing_and_metrics_by_shrinking():
    history = [START, at("a", 4.0, 0.20), at("a", 4.5, 0.19, 6.0)]
    falls = {fall.figure: fall for fall in alarm(history)}
    assert falls["validation_loss"] == Regression("validation_loss", 4.5, 4.0, "stage 'a'")
    assert falls["MRR@10"] == Regression("MRR@10", 0.19, 0.20, "stage 'a'")
    assert falls["median_rank"].start == 5.0
    assert len(falls) == 3  # more queries are no fall


def test_a_stage_that_starts_below_the_run_is_measured_by_the_run_too():
    (fall,) = alarm([START, at("a", 4.0, 0.05)])
    assert fall == Regression("MRR@10", 0.05, 0.10, "the run")


def test_only_the_last_evaluation_counts():
    assert alarm([START, at("a", 4.0, 0.2), at("a", 4.5, 0.2), at("a", 3.9, 0.2)]) == []


def test_a_loss_that_is_no_number_can_be_told_from_nothing():
    assert alarm([START, at("a", None, 0.2)]) == []


def test_falls_are_told_by_what_they_are_measured_against():
    falls = alarm([START, at("a", 4.0, 0.20), at("a", 4.5, 0.19)])
    assert describe(falls) == "than at the start of stage 'a': validation loss 4.5 (was 4), MRR@10 0.19 (was 0.2)"


def test_a_stage_may_waver_but_not_below_the_start_of_the_run():
    assert alarm([START, at("a", 4.0, 0.200), at("a", 4.04, 0.197)]) == []
    (fall,) = alarm([START, at("a", 4.0, 0.100), at("a", 4.04, 0.099)])
    assert fall.since == "the run"

"""The build's result on the terminal."""

import sys
from pathlib import Path

from labeller.manifest import MODEL_FILE
from model_build.calibration import TEMPERATURES
from model_build.report.report import ACCURACY_ROWS, BuildReport, CalibrationReport

AT_BOUND = (
    f"The temperature is at a bound of its search, {TEMPERATURES[0]} to {TEMPERATURES[1]}: confidences are no "
    "probabilities. Look at the pictures: few of them, or wrong labels?"
)

WORSE_NETWORK = (
    "Another network has a measurably lower log loss on the same pictures than the one that was asked for. The model "
    "card compares them; IMAGE_SIZE=auto COMPRESS=auto chooses."
)


def print_summary(report: BuildReport, out: Path) -> None:
    """Accuracy, calibration and files of the model at `out`."""
    print(f"\n{'accuracy':<18}{'as shipped':>18}{'FP32':>18}{'INT8':>18}   heads trained on the same sample")
    for split, scores in report.accuracy.items():
        accuracies = (scores.int8, scores.fp32, scores.int8_on_fp32_images)
        cells = "".join(f"{f'{one.accuracy:.1%} of {one.images}' if one else '':>18}" for one in accuracies)
        print(f"{ACCURACY_ROWS[split]:<18}{cells}" + ("" if scores.p_value is None else f"   p = {scores.p_value:.2f}"))
    head, test = report.head, report.head.yardstick
    print(
        f"\nThe head ({head.chosen}) is right on {test.head_correct} of {test.images} test images, "
        f"with a {head.candidates[-1].name} layer on {test.correct} (p = {test.p_value:.2f})."
    )
    if report.asked_for_a_worse_network:
        print(WORSE_NETWORK)
    if report.previous:
        print(report.previous)
    _print_calibration(report.calibration)
    if glance := report.glance:
        print(
            f"The glance network answers {glance.test.share:.1%} of the test images, {glance.test.correct} of "
            f"{glance.test.images} of them right: {glance.mean_milliseconds:.1f} ms an image on average, not "
            f"{glance.thorough_milliseconds:.1f}."
        )
    sizes = report.bytes
    from_cache = f" ({report.reused} results from the cache)" if report.reused else ""
    print(
        f"\n{out}/{MODEL_FILE}: {sizes[MODEL_FILE] / 1e6:.1f} MB (FP32: {sizes['same_graph_fp32'] / 1e6:.1f} MB), "
        f"built in {report.seconds['total']:.0f} s{from_cache}. The model card is index.html beside it."
    )
    if report.unreadable:
        print(f"{len(report.unreadable)} files could not be read and were left out; report.json lists them.")
    sys.stdout.flush()


def _print_calibration(calibration: CalibrationReport) -> None:
    threshold, validation, test = calibration.threshold, calibration.validation, calibration.test
    errors = [f"{split.before.ece:.2%} -> {split.after.ece:.2%}" for split in (test, validation)]
    print(
        f"Temperature {calibration.temperature:.3f}: calibration error on test {errors[0]} "
        f"(cross-validation {errors[1]})."
    )
    if calibration.at_bound:
        print(AT_BOUND)
    parts = []
    for name, labelled in (("cross-validation", validation.labelled), ("test", test.labelled)):
        right = f"{labelled.accuracy:.2%} right" if labelled.images else "none labelled"
        parts.append(f"{name}: {right}, {1 - labelled.share:.1%} unsure")
    print(f"Predictions with a confidence below {threshold.value:.4f} are UNSURE ({'; '.join(parts)}).")
    if not threshold.reached:
        print(
            f"No threshold makes {threshold.precision:.0%} of the labelled images right in cross-validation: the most "
            "confident predictions are wrong too often. "
            "Look at the mistakes in report.json before you deploy this model."
        )

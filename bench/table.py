"""bench.json as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figure = Mapping[str, float]
"""A Spread in JSON."""


def with_quartiles(figure: Figure, digits: int = 1) -> str:
    """`12.3 (11.9-13.0)`."""
    return f"{figure['median']:.{digits}f} ({figure['low']:.{digits}f}-{figure['high']:.{digits}f})"


def inference_table(found: Mapping[str, Any]) -> str:
    """A row for each contender and size of batch."""
    lines = [
        f"Inference, {found['side']} px, {found['weights']}, {found['threads']} threads; an image, median (quartiles)",
        f"  {'':<18}{'wall ms':>24}{'times ours':>18}{'processor ms':>24}{'times ours':>18}"
        f"{'right':>8}{'otherwise':>11}",
    ]
    for batch in ("batch_1", "batch_8"):
        lines.append(f"  {batch.replace('_', ' of ')}")
        for name, row in found["contenders"].items():
            cells = "".join(
                f"{with_quartiles(row[batch][clock]):>24}{with_quartiles(row[batch][times], 2):>18}"
                for clock, times in (("milliseconds", "times_ours"), ("cpu_milliseconds", "cpu_times_ours"))
            )
            lines.append(f"  {name:<18}{cells}{row.get('correct', '-'):>8}{row['labelled_otherwise']:>11}")
    of = "drawn pictures, there were no photographs" if found["drawn"] else "photographs"
    lines.append(f"  right: of {found['photographs']} {of}; otherwise: labelled otherwise than by Keras in FP32")
    return "\n".join(lines)


def handler_table(found: Mapping[str, Any]) -> str:
    """The handler beside bare inference, for one size of batch and of photograph."""
    stages = ", ".join(f"{name} {value['median']:.1f}" for name, value in found["stages_ms"].items())
    rates = {name: found[name] for name in ("bare", "handler")}
    return "\n".join(
        [
            f"Handler: {found['photographs']} photographs of {found['kilobytes']} kB, {found['side']} px, "
            f"{found['processors']} processors, {found['first_byte_ms']:.0f} ms to the first byte",
            *(
                f"  {'bare inference' if name == 'bare' else name:<16}{with_quartiles(rate['a_second']):>22} a second"
                f"{with_quartiles(rate['cpu_milliseconds']):>22} ms of processor time each"
                for name, rate in rates.items()
            ),
            f"  {'handler / bare':<16}{with_quartiles(found['share'], 3):>22} of the rate; of the handler's processor "
            f"time {found['cpu_share']['median']:.3f} is inference",
            f"  {'server apart':<16}{with_quartiles(found['share_server_apart'], 3):>22} of the rate, reckoned: the "
            "server's processor time is not the handler's",
            f"  an object       {stages} ms",
            f"  decoding        {found['decode_cpu_ms']:.1f} ms of processor time an object",
            f"  server          {found['server_cpu_ms']} ms of processor time an object, not in the above",
            f"  most memory     {found['peak_megabytes']} MB, this bench included",
        ]
    )


def cold_start_table(found: Mapping[str, Any]) -> str:
    """A cold start as a whole and by part."""
    return "\n".join(
        [
            f"Cold start of the built function, {found['processors']} processors; ms, median (quartiles)",
            *(
                f"  {name:<36}{with_quartiles(found[key], 0):>20}"
                for name, key in (
                    ("to the import of the handler", "import_ms"),
                    ("to the first label", "first_label_ms"),
                    ("the next label", "next_label_ms"),
                    ("until ready: the first less the next", "until_ready_ms"),
                    ("processor time to the first label", "cpu_ms"),
                )
            ),
            "  one after the other:",
            *(f"    {name:<34}{with_quartiles(value, 0):>20}" for name, value in found["parts_ms"].items()),
            f"  most memory, batches of 12-megapixel photographs: {found['peak_megabytes_12_megapixels']} MB",
        ]
    )


def build_table(found: Mapping[str, Any]) -> str:
    """The build's stages beside the article's way."""
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in found["seconds"].items() if name != "total")
    article, picture, reused = found["article"], found["picture"], found["reused"]
    if reused is None:
        said = "whether from an empty cache is not known"
    else:
        said = f"results from the cache: {reused}" if reused else "from an empty cache"
    compared = f"; {article['times_ours']['median']:.1f} times the whole build" if "times_ours" in article else ""
    return "\n".join(
        [
            f"Build of {sum(found['pictures'].values())} pictures: {found['seconds']['total']:.0f} s when the model "
            f"was made, {said}, on {found['built_on']['cores']} cores ({stages})",
            f"  the article's way: {with_quartiles(article['seconds'], 0)} s, scaled from "
            f"{article['scaled_from_pictures']} pictures to {article['epochs']} epochs{compared}",
            f"  through the base: {with_quartiles(article['training_ms'])} ms a picture in each epoch, here "
            f"{with_quartiles(picture['int8_ms'])} ms once; {picture['epoch_times_ours']['median']:.2f} times, and "
            f"{article['epochs']} epochs",
        ]
    )


def nightly_table(found: Mapping[str, Any]) -> str:
    """The night."""
    what = "drawn pictures" if found["drawn"] else "photographs"
    scaled = "" if found["photographs"] == 1000 else f"; 1,000 scaled {with_quartiles(found['thousand_seconds'])} s"
    return (
        f"Nightly report: {found['photographs']} {what} at {found['side']} px in {with_quartiles(found['seconds'])} s, "
        f"{with_quartiles(found['scoring_seconds'])} s of it scoring, on {found['on']}{scaled}"
    )


def scaling_table(found: Mapping[str, Any]) -> str:
    """Ways to use the processors."""
    return "\n".join(
        [
            f"Scaling, {found['side']} px; an image: wall ms, processor ms, rate against one thread",
            *(
                f"  {name:<50}{with_quartiles(way['milliseconds']):>20}{with_quartiles(way['cpu_milliseconds']):>20}"
                f"{with_quartiles(way['rate'], 2):>18}"
                for name, way in found["ways"].items()
            ),
        ]
    )


def decoding_table(found: Mapping[str, Any]) -> str:
    """Decoding large JPEGs at reduced size against in full."""
    cpu = found["cpu_milliseconds"]
    return "\n".join(
        [
            f"Decoding {found['photographs']} JPEGs of 12 megapixels for {found['side']} px: "
            f"{with_quartiles(cpu['reduced'])} ms of processor time reduced, {with_quartiles(cpu['in_full'])} in full, "
            f"{with_quartiles(found['times_reduced'], 2)} times",
            f"  {found['answers_changed']} get another answer (a label or UNSURE), {found['likeliest_changed']} "
            f"another likeliest label; probabilities differ by {found['mean_difference']:.4f} on average and "
            f"{found['largest_difference']:.4f} at most",
        ]
    )


def machine_table(found: Mapping[str, Any]) -> str:
    """What it was measured on."""
    vnni = {True: "with VNNI", False: "without VNNI", None: "VNNI unknown"}[found["vnni"]]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['processor']}, {vnni}, {found['cores']} cores, load {found['load_before']:.1f} before and "
        f"{found['load_after']:.1f} after; Python {found['python']}, {versions}"
    )

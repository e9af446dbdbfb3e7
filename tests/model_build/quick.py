"""Candidates for builds that take seconds."""

from model_build.config import HeadCandidate, Pooling, QuantisationCandidate, Ranges

HEADS = (HeadCandidate("average", Pooling.AVERAGE), HeadCandidate("maximum", Pooling.MAXIMUM))
YARDSTICK = HeadCandidate("Dense 32", Pooling.AVERAGE, units=32)
QUANTISATIONS = (
    QuantisationCandidate("minmax", Ranges.MINMAX, 16),
    QuantisationCandidate("percentile", Ranges.PERCENTILE, 16, 99.0),
    QuantisationCandidate("entropy", Ranges.ENTROPY, 4),
    QuantisationCandidate("first layer FP32", Ranges.MINMAX, 16, float_layers=(0,)),
)

"""What Lambda's runtime does before it takes a snapshot, by the module that the runtime brings along."""

from __future__ import annotations

from snapshot_restore_py import get_before_snapshot

from classify import app
from tests.classify.conftest import Service


def test_a_snapshot_holds_the_loaded_model(service: Service) -> None:
    for function, arguments, options in get_before_snapshot():
        function(*arguments, **options)

    assert app.get_labeller.cache_info().currsize == 1

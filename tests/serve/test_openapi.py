"""Requests drawn from the service's own description: whatever they hold, the service itself never fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from tamperscope.serve.app import create
from tamperscope.serve.problems import MEDIA
from tamperscope.serve.settings import Settings


@pytest.mark.filterwarnings("ignore")
def test_no_request_breaks_the_service(tmp_path: Path) -> None:
    app = create(Settings(data=str(tmp_path), workers=1, per_minute=1e6, hosts=("testserver",)))
    with TestClient(app):
        schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= 7
        for operation in operations:

            @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy())
            def ask(case) -> None:  # type: ignore[no-untyped-def]
                answer = case.call(base_url="http://testserver")
                assert answer.status_code < 500, answer.text
                if answer.status_code >= 400:
                    assert MEDIA in str(answer.headers["content-type"])

            ask()

"""The SDK's policy that keeps to the budget. Imported lazily: it imports the SDK's core."""

from __future__ import annotations

from typing import Any

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HTTPPolicy

from compute.arm.budget import Budget


class Spending(HTTPPolicy[Any, Any]):
    """Every request is taken from the budget first, and its answer is learned from."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send. Raises OutOfBudget, and then nothing was sent."""
        asked = request.http_request
        self._budget.take(asked.method)
        response = self.next.send(request)
        answer = response.http_response
        self._budget.learn(asked.method, answer.status_code, answer.headers)
        return response

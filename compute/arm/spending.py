"""The SDK's policy that keeps to the budget. Imported lazily: it imports the SDK's core."""

from __future__ import annotations

from typing import Any

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HTTPPolicy

from compute.arm.buckets import WHOLE
from compute.arm.budget import Budget, provider_of
from compute.arm.errors import said

OF_ALL = "SubscriptionRequestsThrottled"  # the code of a 429 that no provider gave, but the door to all of them


class Spending(HTTPPolicy[Any, Any]):
    """Every request is taken from the budget first, and its answer is learned from."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send. Raises OutOfBudget, and then nothing was sent."""
        asked = request.http_request
        provider = provider_of(asked.url)
        self._budget.take(asked.method, provider)
        response = self.next.send(request)
        answer = response.http_response
        if answer.status_code == 429 and said(answer)[0] == OF_ALL:
            provider = WHOLE
        self._budget.learn(asked.method, answer.status_code, answer.headers, provider)
        return response

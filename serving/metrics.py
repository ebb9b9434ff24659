"""What Prometheus may ask: requests, their time, the digits read, and how many requests wait."""

from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second time series for each


class Metrics:
    """The numbers of one server."""

    def __init__(self, classes: list[str], waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "serving_requests", "Requests by path and status.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "serving_request_seconds",
            "From a request's header to the end of its answer.",
            ["path"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        digits = Counter("serving_digits", "Digits read, by class.", ["label"], registry=self.registry)
        self.digits = [digits.labels(label) for label in classes]
        self.unsure = Counter("serving_not_sure", "Digits read below the threshold.", registry=self.registry)
        self.empty = Counter("serving_no_digit", "Pictures in which no digit was found.", registry=self.registry)
        queue = Gauge("serving_queue_length", "Requests that are read or wait for it.", registry=self.registry)
        queue.set_function(waiting)

    def request(self, path: str, status: int, seconds: float) -> None:
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def read(self, predicted: np.ndarray, unsure: int) -> None:
        """Count digits by class number (int (N,)), and those that are not sure."""
        for label, count in enumerate(np.bincount(predicted, minlength=len(self.digits)).tolist()):
            if count:
                self.digits[label].inc(count)
        if unsure:
            self.unsure.inc(unsure)

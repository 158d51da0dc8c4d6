"""Which repositories monitoring reads."""

from __future__ import annotations

from typing import Protocol

from perene.repositories.alerts import Alerts
from perene.repositories.evaluations import Evaluations
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.releases import Releases
from perene.repositories.runs import Runs
from perene.repositories.servers import Servers
from perene.repositories.servings import Servings


class Remembered(Protocol):
    """The repositories of a project by their names; an App is one."""

    @property
    def models(self) -> Models: ...
    @property
    def releases(self) -> Releases: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def alerts(self) -> Alerts: ...
    @property
    def evaluations(self) -> Evaluations: ...
    @property
    def servers(self) -> Servers: ...
    @property
    def servings(self) -> Servings: ...
    @property
    def predictions(self) -> Predictions: ...

"""Dependencies of the API's routes: one record, created in `server.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from crawler.service.http.access import AccessControl, AccessToken
from crawler.service.http.routes import not_found
from crawler.service.jobs.crawl_job_request import JobRequest
from crawler.service.jobs.job import Job, JobLimits
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.kinds import RequestRules, handler_of_body
from crawler.service.jobs.request_body import InvalidBody
from crawler.service.jobs.supervisor import JobSupervisor
from crawler.service.settings import ServiceConfig


class AppContext(msgspec.Struct, frozen=True):
    """`defaults`: the configuration tree every job starts from; `help`: a line of help by key."""

    config: ServiceConfig
    defaults: Mapping[str, Any]
    store: JobStore
    supervisor: JobSupervisor
    access: AccessControl
    help: Mapping[str, str]
    sizes: Mapping[str, int]  # bytes of each job's folder, as last measured
    blocked_reason: Callable[[], str]  # why no job may start; empty: jobs may start

    def limits_of(self, owner: str) -> JobLimits:
        """The limits of each job of an owner."""
        return self.access.limits_of(owner).capped_by(self.config.limits())

    def read_request(self, body: object, owner: str) -> JobRequest:
        """Validate a job's request body. Raises InvalidBody."""
        if not isinstance(body, dict):
            raise InvalidBody("expected a JSON object")
        rules = RequestRules(
            self.defaults, self.config.allow, self.limits_of(owner), self.config.processes
        )
        return handler_of_body(body).read_request(body, rules)

    async def job(self, request: Request) -> Job:
        """The job whose id is in the path. Raises Problem 404."""
        job = await self.store.get(request.path_params["id"])
        if job is None:
            raise not_found("job")
        return job


def caller(request: Request) -> AccessToken:
    """The token of a request; set by `ApiMiddleware`."""
    token: AccessToken = request.state.token
    return token

"""What the API's routes work with: one record, made in `serve.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from crawler.service.http.access import AccessControl, AccessToken
from crawler.service.http.problem import missing
from crawler.service.jobs import download_job_request
from crawler.service.jobs.crawl_job_request import JobRequest, order
from crawler.service.jobs.job import Job, JobLimits
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.supervisor import JobSupervisor
from crawler.service.settings import ServiceConfig


class AppContext(msgspec.Struct, frozen=True):
    """`defaults` is the tree every job starts from, `help` a line of help by key."""

    config: ServiceConfig
    defaults: Mapping[str, Any]
    register: JobStore
    foreman: JobSupervisor
    access: AccessControl
    help: Mapping[str, str]
    sizes: Mapping[str, int]  # bytes of each job's folder, as last measured
    trouble: Callable[[], str]  # one word when nothing may start: disk-full, memory; else nothing

    def limits_of(self, owner: str) -> JobLimits:
        """What holds for each job of an owner."""
        return self.access.limits_of(owner).under(self.config.limits())

    def read(self, body: object, owner: str) -> JobRequest:
        """A job's body, by the rules of this service. Raises Invalid."""
        if isinstance(body, dict) and "files" in body:
            return download_job_request.order(
                body,
                defaults=self.defaults,
                allow=self.config.allow,
                limits=self.limits_of(owner),
            )
        return order(
            body,
            defaults=self.defaults,
            allow=self.config.allow,
            limits=self.limits_of(owner),
            processes=self.config.processes,
        )

    async def job(self, request: Request) -> Job:
        """The job that the path names. Raises Problem 404."""
        job = await self.register.get(request.path_params["id"])
        if job is None:
            raise missing("job")
        return job


def caller(request: Request) -> AccessToken:
    """Who asks; set by the door in `api.py`."""
    token: AccessToken = request.state.token
    return token

"""Where jobs run: one seam, filled by the local back-end and by batch systems."""

from __future__ import annotations

from dft.execution.base import Backend, JobPhase, JobRequest, JobStatus

__all__ = ["Backend", "JobPhase", "JobRequest", "JobStatus"]

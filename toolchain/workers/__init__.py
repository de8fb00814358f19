"""Where independent tasks run: here, in processes of this machine, on a cluster."""

from toolchain.workers.tasks import check_executor, run_tasks

__all__ = ["check_executor", "run_tasks"]

"""`@task.docyard`: a function returns the arguments of a `docyard` command, and the task runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from docyard_airflow.operators import DocyardOperator


class _DocyardDecoratedOperator(DecoratedOperator, DocyardOperator):
    custom_operator_name = "@task.docyard"
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *DocyardOperator.template_fields)
    overwrite_rtif_after_execution = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(arguments=(), **kwargs)

    def execute(self, context: Any) -> Any:
        given = self.determine_kwargs({**context, **self.op_kwargs})  # the function may ask for `ds` and the like
        arguments = self.python_callable(*self.op_args, **given)
        if isinstance(arguments, str) or not isinstance(arguments, Sequence) or not arguments:
            raise TypeError(
                f"{self.python_callable.__name__}: expected a list of arguments such as ['resolve', '--warehouse', …], "
                f"found {type(arguments).__name__}"
            )
        self.arguments = [str(argument) for argument in arguments]
        self.render_template_fields(context)
        return DocyardOperator.execute(self, context)


def docyard_task(python_callable: Callable[..., Sequence[str]] | None = None, **kwargs: Any) -> TaskDecorator:
    """Makes a task of a function that returns a list of arguments, such as `["queue", "drain", "--config", path]`.

    Args:
        python_callable: the function.
        kwargs: of `DocyardOperator`, and of every Airflow task.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_DocyardDecoratedOperator, **kwargs
    )

"""The page of proposed categories: what was found, and the forms with which two people approve one."""

from __future__ import annotations

from starlette.responses import Response

from escalation.categories.deciding import MAX_DESCRIPTION, approve, edit, list_categories, reject
from escalation.database import reading, transaction
from escalation.people.rules import Refusal, RefusalCode
from escalation.review.case import record_shown
from escalation.web.rendering import PageRequest, see_other

_SHOWN = 20  # proposals, the largest; and as many that were decided


def categories_page(request: PageRequest) -> Response:
    """The largest proposals with the beginnings of typical documents, and the categories that were decided last."""
    with reading(request.engine) as connection:
        found = list_categories(connection)
    proposed = [each for each in found if each.is_open]
    shown = proposed[:_SHOWN]
    examples = {
        example.item_key: {"category_id": each.row["category_id"]}
        for each in shown
        for example in each.examples
        if example.excerpt
    }
    record_shown(request.engine, request.session, examples, request.now)
    return request.page(
        "categories.html",
        proposed=shown,
        more=len(proposed) - len(shown),
        decided=[each for each in found if not each.is_open][:_SHOWN],
        max_description=MAX_DESCRIPTION,
    )


def decide_category(request: PageRequest) -> Response:
    """Approves, renames or rejects a category, as the button says."""
    form, action = request.form, request.form.get("action", "")
    category_id, revision = form.get("category_id", ""), form.get("revision", "")
    if action not in ("approve", "edit", "reject") or not (revision.isascii() and revision.isdigit()):
        raise Refusal(RefusalCode.BAD_INPUT, "This form does not exist.")
    name, description = form.get("name", ""), form.get("description", "")
    seen, person, now = int(revision[:9]), request.person, request.now
    with transaction(request.engine) as connection:
        if action == "approve":
            note = f"category_{approve(connection, person, category_id, seen, name, description, now)}"
        elif action == "edit":
            edit(connection, person, category_id, seen, name, description, now)
            note = "category_edited"
        else:
            reject(connection, person, category_id, seen, now)
            note = "category_rejected"
    return see_other(request.link("/categories", note=note))

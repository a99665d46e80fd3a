"""The pages of the audits: the bounds on the error of accepted answers, and the demotions that people judge."""

from __future__ import annotations

from starlette.responses import Response

from escalation.audits.bounds import audited_errors, wrong_audits
from escalation.audits.corrections import NOT_LOADED, list_touched
from escalation.audits.demotions import MAX_REASON_CHARS, Demotion, find_demotions, vote, votes_on
from escalation.audits.upkeep import settle_audits
from escalation.database import reading, transaction
from escalation.people.rules import Refusal, RefusalCode
from escalation.web.rendering import PageRequest, see_other
from schemas.codes import DemotionVerdict
from warehouse.interface import Warehouse
from warehouse.places import warehouse_at
from warehouse.register import read_register

_SHOWN = 100  # touched answers


def audits_page(request: PageRequest) -> Response:
    """The bounds on the error of each bundle and label, and the demotions they led to."""
    entries = read_register(_warehouse(request))
    with reading(request.engine) as connection:
        errors = audited_errors(connection, entries)
    return request.page("audits.html", errors=errors, demotions=find_demotions(entries)[::-1])


def demotion_page(request: PageRequest) -> Response:
    """One demotion: what it rests on, what people said, and the accepted answers that it touches."""
    demotion, warehouse = _demotion(request), _warehouse(request)
    with reading(request.engine) as connection:
        wrong = wrong_audits(connection, demotion.bundle, demotion.document_type, demotion.label)
        votes = votes_on(connection)
        touched = list_touched(connection, warehouse, demotion)
    open_votes = votes.get(demotion.voted_on, [])
    earlier_votes = votes.get(demotion.entry.number, []) if demotion.confirmed else []
    return request.page(
        "demotion.html",
        demotion=demotion,
        wrong=wrong,
        votes=[*earlier_votes, *open_votes],
        touched=touched[:_SHOWN],
        n_touched=len(touched),
        n_corrected=sum(row["settled_label"] is not None for row in touched),
        not_loaded=NOT_LOADED,
        may_vote=request.person.judges
        and demotion.revoked is None
        and request.person.name not in {row["person"] for row in open_votes},
        verdicts=[each for each in DemotionVerdict if demotion.confirmed is None or each is DemotionVerdict.REVOKE],
        max_reason=MAX_REASON_CHARS,
    )


def judge_demotion(request: PageRequest) -> Response:
    """Takes the person's verdict; the second of two equal ones goes into the warehouse's register at once."""
    try:
        verdict = DemotionVerdict(request.form.get("verdict", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "Confirm or revoke the demotion.") from None
    demotion = _demotion(request)
    with transaction(request.engine) as connection:
        vote(connection, request.person, demotion, verdict, request.form.get("reason", "").strip(), request.now)
    settle_audits(request.engine, _warehouse(request), request.now)
    return see_other(request.link(f"/audits/{demotion.entry.number}", note="voted"))


def _demotion(request: PageRequest) -> Demotion:
    number = str(request.http.path_params["number"])
    for demotion in find_demotions(read_register(_warehouse(request))):
        if str(demotion.entry.number) == number:
            return demotion
    raise Refusal(RefusalCode.NO_SUCH_ITEM, "There is no such demotion.")


def _warehouse(request: PageRequest) -> Warehouse:
    return warehouse_at(request.config.warehouse)

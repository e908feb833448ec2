"""What the commands do that look at machines and reckon what they cost."""

import argparse
import dataclasses

from clozekit.deploy.doctor import RED, Finding, examine, to_json
from clozekit.deploy.quiet import load_tensorflow
from clozekit.tokenizers.errors import InputError


def doctor(arguments: argparse.Namespace) -> None:
    from clozekit.deploy import doctor_checks, doctor_data

    checks = doctor_checks.checks_of_machine(arguments.directory, arguments.constraints)
    for name in ("bucket", "dataset", "preset"):
        given = getattr(arguments, name)
        if given is not None:
            check = getattr(doctor_data, name)
            checks.append((name, lambda check=check, given=given: check(given)))
    load_tensorflow()
    findings: list[Finding] = []
    for finding in examine(checks):
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        print(to_json(findings))
    red = [finding.name for finding in findings if finding.status == RED]
    if red:
        raise InputError(
            f"nothing may be red, {len(red)} of {len(findings)} are ({', '.join(red)}); see what to do above"
        )


def costs(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.costs import CostOptions, describe, reckon

    names = [field.name for field in dataclasses.fields(CostOptions)]
    options = CostOptions(**{name: value for name in names if (value := getattr(arguments, name)) is not None})
    print("\n".join(describe(options, reckon(options))))

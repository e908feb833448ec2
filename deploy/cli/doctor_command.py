"""`clozekit doctor`: looks at a machine, its cluster and its storage."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.tokenizers.common.errors import InputError


def add(commands: Any) -> None:
    parser = command(
        commands,
        "doctor",
        "Look at this machine, its cluster and its storage; each red line says what to do.",
        "clozekit doctor\n  clozekit doctor --bucket gs://bucket/runs --dataset gs://bucket/dataset --preset bert_base_en",
    )
    parser.add_argument("--bucket", metavar="URL", help="list, write, read and delete a probe below it")
    parser.add_argument("--dataset", metavar="DATASET", help="is it there, are its shards of the right size?")
    parser.add_argument("--preset", metavar="PRESET", help="does it load?")
    parser.add_argument("--directory", default=".", help="where to look for free disk (default: here)")
    parser.add_argument(
        "--constraints", metavar="FILE", help="the tested versions (default: constraints.txt beside the code)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON list of all findings, and nothing else on standard output: name, status, found, advice",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.doctor import data_checks as doctor_data
    from clozekit.deploy.doctor import machine_checks as doctor_checks
    from clozekit.deploy.doctor.findings import RED, Finding, examine, to_json

    checks = doctor_checks.checks_of_machine(arguments.directory, arguments.constraints)
    for name in ("bucket", "dataset", "preset"):
        given = getattr(arguments, name)
        if given is not None:
            check = getattr(doctor_data, name)
            checks.append((name, lambda check=check, given=given: check(given)))
    # It looks whether XLA compiles.
    load_tensorflow(keeps_programs=False)
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

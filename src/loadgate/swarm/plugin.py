"""The Locust plugin: importing this module makes every run of the process a Loadgate run.

`loadgate.LoadUser` brings it along; a locustfile of stock `HttpUser` or `FastHttpUser` classes says
`import loadgate.swarm.plugin`. Nothing runs at import but the registration of listeners
and the changes of `patches.py`, because `locust --processes` forks afterwards.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust import events
from locust.runners import STATE_INIT, STATE_STOPPED, LocalRunner, MasterRunner, WorkerRunner

from loadgate.errors import LoadgateError
from loadgate.plan.plan import Plan, load_plan
from loadgate.swarm import messages, patches
from loadgate.swarm.master import Master
from loadgate.swarm.member import Member, refuse

ROLES_ATTRIBUTE = "loadgate_roles"


class Roles:
    """Hold what this process is in the current run: its keeper, a maker of load, or both."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.plan: Plan | None = None
        self.master: Master | None = None
        self.member: Member | None = None
        self.interrupted = False
        self._next_start: messages.Start | None = None

    # -- Locust's events ------------------------------------------------------------------------

    def test_start(self) -> None:
        """Begin a run: the keeper writes it down, then the maker of load gets its engine."""
        runner = self.environment.runner
        try:
            if isinstance(runner, (MasterRunner, LocalRunner)):
                self.master = Master(self.environment, self.plan)
                if isinstance(runner, MasterRunner):
                    runner.loadgate_quitting = False
                    runner.loadgate_finalise = self.master.finalise
                self.master.begin()
            if not isinstance(runner, MasterRunner):
                self._start_member()
        except LoadgateError as error:
            self._give_up(error)

    def _start_member(self) -> None:
        start, self._next_start = self._next_start, None
        if start is None:
            raise LoadgateError(
                "the master did not say what run this is",
                hint="start the master with the same locustfile, which loads Loadgate's plugin",
            )
        self.member = Member(self.environment, start)
        self.member.test_start(foreign_listeners())

    def _give_up(self, error: LoadgateError) -> None:
        if self.member is not None or isinstance(self.environment.runner, WorkerRunner):
            refuse(self.environment, error)
        elif self.master is not None:
            self.master.fail(error.message, int(error.exit_code), hint=error.hint)
        else:
            print_error(error)
            self.environment.process_exit_code = int(error.exit_code)
            # Raised through Locust's event, which lets only BaseException pass.
            raise SystemExit(int(error.exit_code))

    def spawning_complete(self) -> None:
        """Start the run's clock, when this process keeps a run with a plan."""
        if self.master is not None:
            self.master.users_are_ready()

    def test_stopping(self) -> None:
        """Come to an end while the users still exist."""
        if self.master is not None:
            if self.interrupted:
                self.master.interrupted()
            self.master.stopping()
        if self.member is not None:
            self.member.stopping()

    def test_stop(self) -> None:
        """Ship and keep the last numbers, now that the users are gone."""
        runner = self.environment.runner
        if self.member is not None:
            # A worker's listener greenlet runs this, so waiting for the answer would be in vain.
            self.member.stopped(wait=self.member.is_local)
        if self.master is not None and not getattr(runner, "loadgate_quitting", False):
            self.master.finalise()

    # -- messages -------------------------------------------------------------------------------

    def listen(self, runner: Any) -> None:
        """Register for the messages of this process's role."""
        if not isinstance(runner, MasterRunner):
            runner.register_message(messages.START, self._on_start)
            runner.register_message(messages.GO, self._on_go, concurrent=True)
            runner.register_message(messages.FINISH, self._on_finish, concurrent=True)
            runner.register_message(messages.ACK, self._on_ack)
            runner.register_message(messages.PONG, self._on_pong)
        if not isinstance(runner, WorkerRunner):
            runner.register_message(messages.DELTA, self._on_delta)
            runner.register_message(messages.DRAINED, self._on_drained)
            runner.register_message(messages.REFUSED, self._on_refused)
            runner.register_message(messages.PING, self._on_ping)

    def _on_start(self, msg: Any, **_: Any) -> None:
        self._next_start = messages.Start.from_wire(msg.data)

    def _on_go(self, msg: Any, **_: Any) -> None:
        if self.member is not None:
            self.member.go(messages.Go(**msg.data))

    def _on_finish(self, msg: Any, **_: Any) -> None:
        if self.member is not None:
            self.member.finish(messages.Finish(**msg.data))

    def _on_ack(self, msg: Any, **_: Any) -> None:
        if self.member is not None:
            self.member.acknowledged(msg.data["sequences"])

    def _on_pong(self, msg: Any, **_: Any) -> None:
        if self.member is not None:
            self.member.clock.answered(msg.data["sent"], msg.data["master"], time.monotonic())

    def _on_delta(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.delta(msg.data, msg.node_id)

    def _on_drained(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.drained(msg.node_id)

    def _on_refused(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.refused(msg.data, msg.node_id)

    def _on_ping(self, environment: Any, msg: Any) -> None:
        answer = {"sent": msg.data["sent"], "master": time.monotonic()}
        environment.runner.send_message(messages.PONG, answer, client_id=msg.node_id)


def roles_of(environment: Any) -> Roles:
    """Return the roles of an environment, made at first use: test_start can come before init ends."""
    roles = getattr(environment, ROLES_ATTRIBUTE, None)
    if roles is None:
        roles = Roles(environment)
        setattr(environment, ROLES_ATTRIBUTE, roles)
    assert isinstance(roles, Roles)
    return roles


def foreign_listeners() -> list[Callable[..., None]]:
    """List the listeners of Locust's request event that are neither Locust's nor Loadgate's own."""
    return [
        handler
        for handler in events.request._handlers
        if handler is not _on_request and not getattr(handler, "__module__", "").startswith("locust.")
    ]


def print_error(error: LoadgateError) -> None:
    """Say on standard error what failed and what to do."""
    hint = f"\n  {error.hint}" if error.hint else ""
    sys.stderr.write(f"loadgate: {error.message}{hint}\n")


def _plan_of_process(options: Any) -> Plan | None:
    """Read the plan that this process is given: a snapshot by the control room, or a scenario."""
    if snapshot := os.environ.get("LOADGATE_PLAN"):
        return Plan.from_json(Path(snapshot).read_bytes())
    scenario = getattr(options, "scenario", None) or os.environ.get("LOADGATE_SCENARIO")
    if not scenario:
        return None
    os.environ["LOADGATE_SCENARIO"] = str(scenario)
    return load_plan(Path(scenario), host=getattr(options, "host", None))


def _on_command_line(parser: Any, **_: Any) -> None:
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        default="",
        include_in_web_ui=False,
        help="Loadgate scenario (TOML) whose stages, mix and objectives this run follows; "
        "the number of users is then the pool that serves its arrivals",
    )


def _on_init(environment: Any, runner: Any, **_: Any) -> None:
    roles = roles_of(environment)
    if not isinstance(runner, WorkerRunner):
        try:
            roles.plan = _plan_of_process(environment.parsed_options)
        except LoadgateError as error:
            print_error(error)
            raise SystemExit(int(error.exit_code)) from error
    else:
        options = environment.parsed_options
        if options is not None:
            # A worker forked by --processes keeps these and would write them over the parent's.
            options.json, options.json_file = False, None
    roles.listen(runner)

    patches.end_on_signals(lambda _: _end_gracefully(roles, runner), lambda: os._exit(130))
    environment.events.quitting.add_listener(_end_load)


def _end_gracefully(roles: Roles, runner: Any) -> None:
    """End the run under way, then the process; what was measured is kept."""
    roles.interrupted = True
    if roles.master is not None:
        roles.master.interrupted()
    if isinstance(runner, WorkerRunner) or runner.state in (STATE_INIT, STATE_STOPPED):
        patches.interrupt_main()
        return
    runner.quit()
    options = roles.environment.parsed_options
    if options is None or not options.headless:
        # Without a web UI, the main greenlet has just ended by itself, and writes its reports.
        patches.interrupt_main()


def _end_load(environment: Any, **_: Any) -> None:
    """End the load of a process that quits while its users still run.

    Registered at init and so called before Locust's own listeners: a worker's last delta and
    statistics leave before its "quit" does.
    """
    runner = environment.runner
    if isinstance(runner, WorkerRunner) and runner.worker_state in ("running", "spawning"):
        runner.stop()
        runner._send_stats()


def _on_test_start(environment: Any, **_: Any) -> None:
    roles_of(environment).test_start()


def _on_spawning_complete(**_: Any) -> None:
    for roles in _current:
        roles.spawning_complete()


def _on_test_stopping(environment: Any, **_: Any) -> None:
    roles_of(environment).test_stopping()


def _on_test_stop(environment: Any, **_: Any) -> None:
    roles_of(environment).test_stop()


def _on_worker_connect(client_id: str, **_: Any) -> None:
    for roles in _current:
        if roles.master is not None:
            roles.master.enrol_late(client_id)


def _on_request(
    name: str,
    response_time: float,
    response_length: int,
    exception: object = None,
    **_: Any,
) -> None:
    for roles in _current:
        if roles.member is not None:
            roles.member.request(name, response_time, response_length, exception)


def _on_quitting(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, LocalRunner):
        environment.runner.stop()
    patches.write_last_csv()


# Locust tells some listeners no environment; these are the ones they mean.
_current: list[Roles] = []


def _remember(environment: Any, **_: Any) -> None:
    _current[:] = [roles_of(environment)]


def _register() -> None:
    patches.apply()
    events.init_command_line_parser.add_listener(_on_command_line)
    events.init.add_listener(_remember)
    events.init.add_listener(_on_init)
    events.test_start.add_listener(_remember)
    events.test_start.add_listener(_on_test_start)
    events.spawning_complete.add_listener(_on_spawning_complete)
    events.test_stopping.add_listener(_on_test_stopping)
    events.test_stop.add_listener(_on_test_stop)
    events.worker_connect.add_listener(_on_worker_connect)
    events.request.add_listener(_on_request)
    # Listeners of `quitting` run in reverse order, so this first one runs last.
    events.quitting.add_listener(_on_quitting)


_register()

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
from loadgate.exit_codes import ExitCode
from loadgate.plan.plan import Plan, load_plan
from loadgate.swarm import messages, passport, patches, transport
from loadgate.swarm.beat import Link
from loadgate.swarm.beat_link import BeatLink
from loadgate.swarm.fingerprint import Fingerprint
from loadgate.swarm.frames import Refusal
from loadgate.swarm.launch import ABORTED, DECIDED, PAUSED, WEB, Web
from loadgate.swarm.master import Master
from loadgate.swarm.member import Member, refuse
from loadgate.swarm.secret import fork_secret, secret_for
from loadgate.swarm.waiting import Waiting, will_resume
from loadgate.swarm.web import serve

ROLES_ATTRIBUTE = "loadgate_roles"
_DELIVER_WITHIN = 30.0
"""Seconds that a worker stays after its run, until its last reports are acknowledged."""


class Roles:
    """Hold what this process is in the current run: its keeper, a maker of load, or both."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.plan: Plan | None = None
        self.master: Master | None = None
        self.member: Member | None = None
        self.interrupted = False
        self._asked: Callable[[Master], None] | None = None
        self._next_start: messages.Start | None = None
        self._past: list[Member] = []
        self._fingerprint: Fingerprint | None = None

    # -- Locust's events ------------------------------------------------------------------------

    def test_start(self) -> None:
        """Begin a run: the keeper writes it down, then the maker of load gets its engine."""
        runner = self.environment.runner
        try:
            if isinstance(runner, (MasterRunner, LocalRunner)):
                self.master = Master(
                    self.environment,
                    self.plan,
                    passport.folder_of_locustfile(self.environment),
                    self.fingerprint,
                )
                if self._asked is not None:
                    # While the workers were waited for; nothing has begun yet, so the keeper waits for that.
                    asked, self._asked = self._asked, None
                    asked(self.master)
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
        if self.member is not None:
            self._past.append(self.member)
        for done in [member for member in self._past if member.is_over]:
            done.close()
            self._past.remove(done)
        is_worker = isinstance(self.environment.runner, WorkerRunner)
        self.member = Member(
            self.environment,
            start,
            folder=passport.folder_of_locustfile(self.environment) if is_worker else None,
            link=self._beat_link if is_worker else None,
        )
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

    def decided(self) -> None:
        """End the run before its time: the control room says that its verdict is certain."""
        if self.master is not None:
            self.master.decided()

    def aborted(self) -> None:
        """End the run before its time: an alert says so."""
        self._ask(Master.aborted)

    def paused(self) -> None:
        """Stop the load, and leave the run open: the control room goes, and another will come."""
        self._ask(Master.pause)

    def _ask(self, request: Callable[[Master], None]) -> None:
        """Pass a request on to the keeper; the first that comes before there is one is kept for it."""
        if self.master is not None:
            request(self.master)
        else:
            self._asked = self._asked or request

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
            self.member.stopped()
        if self.master is not None and not getattr(runner, "loadgate_quitting", False):
            self.master.finalise()

    # -- messages -------------------------------------------------------------------------------

    def listen(self, runner: Any) -> None:
        """Register for the messages of this process's role."""
        if not isinstance(runner, MasterRunner):
            runner.register_message(messages.START, self._on_start)
            runner.register_message(messages.GO, self._on_go)
            runner.register_message(messages.LEASE, self._on_lease)
            runner.register_message(messages.FINISH, self._on_finish, concurrent=True)
            runner.register_message(messages.ACK, self._on_ack)
            runner.register_message(messages.PONG, self._on_pong)
        if not isinstance(runner, WorkerRunner):
            runner.register_message(messages.DELTA, self._on_delta)
            runner.register_message(messages.BEAT, self._on_beat)
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

    def _on_lease(self, msg: Any, **_: Any) -> None:
        data = dict(msg.data)
        for ack in data.pop("acks", ()):
            self._acknowledged(ack)
        if self.member is not None and data.pop("run") == self.member.start.run:
            self.member.lease(messages.Lease(**data))

    def _on_ack(self, msg: Any, **_: Any) -> None:
        self._acknowledged(msg.data)

    def _acknowledged(self, ack: dict[str, Any]) -> None:
        for member in (*self._past, self.member):
            if member is not None:
                member.acknowledged(ack["run"], ack["incarnation"], ack["sequences"])

    def _on_pong(self, msg: Any, **_: Any) -> None:
        if self.member is not None and self.member.clock is not None:
            self.member.clock.answered(msg.data["sent"], msg.data["master"], time.monotonic())

    def _on_beat(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.beat(messages.Beat(**msg.data), msg.node_id)

    def _on_delta(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.delta(msg.data, msg.node_id)

    def _on_drained(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.drained(msg.node_id)

    def _on_refused(self, msg: Any, **_: Any) -> None:
        if self.master is not None:
            self.master.refused(msg.data, msg.node_id)

    # -- the connection -------------------------------------------------------------------------

    @property
    def fingerprint(self) -> Fingerprint | None:
        """What this process makes its traffic of, taken once; None for a program without a locustfile."""
        if self._fingerprint is None and passport.locustfiles_of(self.environment):
            self._fingerprint = passport.fingerprint_of(self.environment)
        return self._fingerprint

    def passport(self) -> dict[str, Any]:
        """Say who this worker is."""
        member = self.member
        run = member.start.run if member is not None and not member.is_over else ""
        return passport.passport_of(self.fingerprint, run)

    def admit(self, identity: str, shown: dict[str, Any]) -> dict[str, Any] | Refusal:
        """Let a worker in, or say why not."""
        run = self.master.run if self.master is not None else run_to_resume()
        refusal = passport.judge(shown, self.fingerprint, run)
        if refusal is None:
            locustfile = passport.describe_locustfile(passport.locustfiles_of(self.environment))
            return {"run": run, "locustfile": locustfile}
        host = str(shown.get("host", "?"))
        print_error(LoadgateError(f"the worker on {host} is refused: {refusal.message}", hint=refusal.hint))
        if self.master is not None:
            self.master.turned_away(identity, host, refusal.message)
        return refusal

    def welcomed(self, _info: dict[str, Any], fresh: bool) -> None:
        """Introduce this worker to a master that has not met it: the one before is gone."""
        if fresh and self.environment.runner is not None and self.environment.runner.connected:
            if self.member is not None:
                self.member.new_master()
            patches.introduce_again(self.environment.runner)

    def refused(self, refusal: Refusal) -> None:
        """End this worker: the master does not want it."""
        print_error(LoadgateError(f"the master refuses: {refusal.message}", hint=refusal.hint))
        os._exit(refusal.exit_code or int(ExitCode.USAGE))

    def deliver(self) -> None:
        """Wait until the master has acknowledged all reports of a run that is over."""
        if self.member is not None and not self.member.delivered(_DELIVER_WITHIN):
            left = self.member.undelivered
            print_error(
                LoadgateError(f"{left} report(s) were never acknowledged by the master, and are lost")
            )

    def _beat_link(self) -> Link:
        runner = self.environment.runner
        host, port = runner.master_host, runner.master_port
        secret = secret_for(host, os.environ)
        return BeatLink(host, port, runner.client_id, secret, passport=lambda: dict(passport.BEAT))

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


def run_to_resume() -> str:
    """Name the run that this master will take up or keep, where that is known before it starts."""
    given = os.environ.get("LOADGATE_RUN")
    return Path(given).name if given else ""


def _on_command_line(parser: Any, **_: Any) -> None:
    # Stock Locust listens on every address of the machine, without a password.
    parser.set_defaults(master_bind_host="127.0.0.1", web_host="127.0.0.1")
    if "--processes" in " ".join(sys.argv) or os.environ.get("LOCUST_PROCESSES"):
        # The children inherit it; a child that a dead run left behind belongs to no later one.
        fork_secret()
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
            if isinstance(runner, MasterRunner):
                _prepare_master(roles, runner)
        except LoadgateError as error:
            print_error(error)
            raise SystemExit(int(error.exit_code)) from error
    else:
        options = environment.parsed_options
        if options is not None:
            # A worker forked by --processes keeps these and would write them over the parent's.
            options.json, options.json_file = False, None
    if isinstance(runner, LocalRunner):
        roles.listen(runner)
    if isinstance(runner, MasterRunner) and os.environ.get(WEB):
        serve(environment, Web.from_text(os.environ[WEB]))
    patches.end_on_signals(lambda _: _end_gracefully(roles, runner), lambda: os._exit(130))
    if not isinstance(runner, WorkerRunner):
        patches.call_on(DECIDED, roles.decided)
        patches.call_on(ABORTED, roles.aborted)
        patches.call_on(PAUSED, roles.paused)
    environment.events.quitting.add_listener(_end_load)


def _prepare_master(roles: Roles, runner: Any) -> None:
    """Let workers in, and see to it that those that are expected come."""
    options = roles.environment.parsed_options
    if options is not None:
        # A lost worker's users go to the others at once.
        options.enable_rebalancing = True
        if options.headless:
            Waiting(roles.environment, roles.plan, resume=will_resume()).start()
    transport.configure(admit=roles.admit)
    runner.loadgate_roles = roles


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
    if isinstance(runner, WorkerRunner):
        if runner.worker_state in ("running", "spawning"):
            runner.stop()
            runner._send_stats()
        roles_of(environment).deliver()


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


def _before_runner(environment: Any) -> None:
    """Prepare the connection, which a runner opens before Locust tells anybody of it."""
    roles = roles_of(environment)
    transport.configure(
        secret=_secret_or_exit,
        passport=roles.passport,
        admit=None,
        on_refused=roles.refused,
        on_welcome=roles.welcomed,
    )


def _on_runner(runner: Any) -> None:
    """Listen from the first message on; a worker is told of a run before Locust tells of the worker."""
    roles = roles_of(runner.environment)
    roles.listen(runner)
    if isinstance(runner, WorkerRunner):
        runner.loadgate_deliver = roles.deliver


def _secret_or_exit(host: str) -> bytes:
    try:
        return secret_for(host, os.environ)
    except LoadgateError as error:
        print_error(error)
        raise SystemExit(int(error.exit_code)) from error


def _on_quitting(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, LocalRunner):
        environment.runner.stop()
    patches.write_last_csv()


# Locust tells some listeners no environment; these are the ones they mean.
_current: list[Roles] = []


def _remember(environment: Any, **_: Any) -> None:
    _current[:] = [roles_of(environment)]


def _register() -> None:
    patches.apply(_before_runner, _on_runner)
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

"""Loading the application: what is found, what is refused, and the sentence that says why."""

from __future__ import annotations

import asyncio
import functools
import importlib
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keepserve.asgi.loading import AppLoadError, load_app
from keepserve.config import Settings

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a module into the app directory; what tests import is forgotten afterwards."""
    path, modules = sys.path[:], set(sys.modules)

    def write(name: str, source: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    importlib.invalidate_caches()


def load(tmp_path: Path, app: object, *, factory: bool = False) -> Any:
    return load_app(Settings(app=app, app_dir=str(tmp_path), factory=factory))


def refusal(tmp_path: Path, app: object, *, factory: bool = False) -> AppLoadError:
    with pytest.raises(AppLoadError) as caught:
        load(tmp_path, app, factory=factory)
    assert "\n" not in str(caught.value)
    return caught.value


def shown_traceback(error: AppLoadError) -> str:
    assert error.show_traceback
    assert error.__cause__ is not None
    return "".join(traceback.format_exception(error.__cause__))


APP = "async def app(scope, receive, send): ...\n"


# What is found.


def test_module_and_attribute_are_imported_from_the_app_dir(tmp_path: Path, write: Write) -> None:
    write("site_one.py", APP)
    assert load(tmp_path, "site_one:app").__module__ == "site_one"


def test_nested_modules_and_attributes(tmp_path: Path, write: Write) -> None:
    write("pkg_one/__init__.py", "")
    write("pkg_one/inner.py", "class Holder:\n    @staticmethod\n    async def app(scope, receive, send): ...\n")
    assert callable(load(tmp_path, "pkg_one.inner:Holder.app"))


def test_the_app_dir_comes_first_on_the_import_path(tmp_path: Path, write: Write) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    write("first/site_two.py", APP + "where = 'first'")
    write("second/site_two.py", APP + "where = 'second'")
    sys.path.insert(0, str(tmp_path / "second"))
    load(tmp_path / "first", "site_two:app")
    assert sys.modules["site_two"].where == "first"
    assert sys.path[0] == str(tmp_path / "first")
    load(tmp_path / "first", "site_two:app")
    assert sys.path.count(str(tmp_path / "first")) == 1


def test_an_object_is_taken_as_it_is() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert load_app(Settings(app=app)) is app


def test_a_factory_is_called() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert load_app(Settings(app=lambda: app, factory=True)) is app


def test_a_class_that_needs_no_arguments_is_a_factory() -> None:
    class Framework:
        def __init__(self, debug: bool = False) -> None: ...

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    assert isinstance(load_app(Settings(app=Framework, factory=True)), Framework)


async def _plain(scope: Any, receive: Any, send: Any) -> None: ...


async def _with_extra(extra: int, scope: Any, receive: Any, send: Any) -> None: ...


class _Endpoint:
    """How Starlette's class-based endpoints look: an instance for each request, awaited."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any:
        yield


class _Instance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    "app",
    [
        _plain,
        functools.partial(_with_extra, 1),
        _Endpoint,
        _Instance(),
        lambda *arguments: _plain(*arguments),
        functools.lru_cache(_plain),
    ],
)
def test_shapes_of_asgi_3_applications_are_accepted(app: Any) -> None:
    assert load_app(Settings(app=app)) is app


def test_a_callable_without_a_signature_is_accepted() -> None:
    class Opaque:
        @property
        def __signature__(self) -> Any:
            raise ValueError("no signature")

        def __call__(self, *arguments: Any) -> Any: ...

    app = Opaque()
    assert load_app(Settings(app=app)) is app


# ASGI 2.


def _asgi2_function(scope: Any) -> Any:
    async def instance(receive: Any, send: Any) -> None:
        await send({"scope": scope, "received": await receive()})

    return instance


class _Asgi2Class:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        await send({"scope": self.scope, "received": await receive()})


@pytest.mark.parametrize("app", [_asgi2_function, _Asgi2Class])
def test_asgi_2_applications_are_wrapped(app: Any) -> None:
    async def receive() -> Any:
        return "message"

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    wrapped: Any = load_app(Settings(app=app))
    asyncio.run(wrapped({"type": "http"}, receive, send))
    assert sent == [{"scope": {"type": "http"}, "received": "message"}]


# The name.


def test_no_application_says_how_to_name_one() -> None:
    with pytest.raises(AppLoadError, match="name it as module:attribute, for example main:app"):
        load_app(Settings())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("main", 'the attribute is missing. If the application is the variable "app" in that module, say main:app.'),
        ("main:", "say main:app."),
        (":app", "'' is not a Python name"),
        ("main.py", "not its path. Try main:app"),
        ("./src/main.py:app", "not its path. Try src.main:app, and --app-dir"),
        ("src/main:api", "Try src.main:api"),
        ("main:create_app()", "Name the function and add --factory: main:create_app --factory."),
        ("my-app:app", "'my-app' is not a Python name"),
        ("main:app:app", "'app:app' is not a Python name"),
        ("main..x:app", "'' is not a Python name"),
    ],
)
def test_a_malformed_name_is_told_with_what_to_write(tmp_path: Path, name: str, sentence: str) -> None:
    error = refusal(tmp_path, name)
    assert sentence in str(error)
    assert repr(name) in str(error)
    assert not error.show_traceback


# Modules that are not there, or do not import.


def test_a_missing_module_names_the_directory_and_the_nearest(tmp_path: Path, write: Write) -> None:
    write("application.py", APP)
    error = refusal(tmp_path, "aplication:app")
    assert "There is no module 'aplication'" in str(error)
    assert str(tmp_path) in str(error)
    assert "Did you mean application?" in str(error)
    assert not error.show_traceback


def test_a_missing_module_of_a_package_names_the_nearest_in_it(tmp_path: Path, write: Write) -> None:
    write("pkg_two/__init__.py", "")
    write("pkg_two/server.py", APP)
    error = refusal(tmp_path, "pkg_two.servr:app")
    assert "looked in the package 'pkg_two'. Did you mean pkg_two.server?" in str(error)


def test_a_dot_where_the_colon_belongs_is_recognised(tmp_path: Path, write: Write) -> None:
    write("site_three.py", APP)
    error = refusal(tmp_path, "site_three.app:app")
    assert "'site_three' is a module, not a package. For an attribute of it say site_three:app." in str(error)


def test_an_import_that_fails_inside_the_application_shows_its_traceback(tmp_path: Path, write: Write) -> None:
    write("site_four.py", "import no_such_dependency\n")
    error = refusal(tmp_path, "site_four:app")
    assert "it was found, but it imports 'no_such_dependency', which was not" in str(error)
    shown = shown_traceback(error)
    assert 'site_four.py", line 1' in shown
    assert "loading.py" not in shown
    assert "importlib" not in shown


def test_a_missing_module_of_the_same_package_is_the_applications_import(tmp_path: Path, write: Write) -> None:
    write("pkg_three/__init__.py", "import pkg_three.missing")
    write("pkg_three/main.py", APP)
    error = refusal(tmp_path, "pkg_three.main:app")
    assert "imports 'pkg_three.missing'" in str(error)
    assert "__init__.py" in shown_traceback(error)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero."),
        ("def app(:", "raised SyntaxError: "),
        ("from os import nothing_such", "raised ImportError: cannot import name"),
        ("raise ValueError('two\\nlines')", "raised ValueError: two lines."),
        ("raise RuntimeError", "raised RuntimeError."),
    ],
)
def test_an_import_that_raises_shows_the_applications_traceback(
    tmp_path: Path, write: Write, source: str, sentence: str
) -> None:
    write("site_five.py", source)
    error = refusal(tmp_path, "site_five:app")
    assert sentence in str(error)
    shown = shown_traceback(error)
    assert "site_five.py" in shown
    assert "loading.py" not in shown


def test_an_import_that_exits_does_not_end_the_server_silently(tmp_path: Path, write: Write) -> None:
    write("site_six.py", "import sys\nsys.exit('no database')")
    error = refusal(tmp_path, "site_six:app")
    assert "ended in SystemExit ('no database')" in str(error)
    assert "site_six.py" in shown_traceback(error)


def test_an_interrupt_while_importing_is_not_turned_into_an_error(tmp_path: Path, write: Write) -> None:
    write("site_seven.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, "site_seven:app")


# Attributes.


def test_a_missing_attribute_names_the_nearest(tmp_path: Path, write: Write) -> None:
    write("site_eight.py", "async def application(scope, receive, send): ...")
    error = refusal(tmp_path, "site_eight:aplication")
    assert "Module 'site_eight' has no attribute 'aplication'" in str(error)
    assert "Did you mean application?" in str(error)
    assert not error.show_traceback


def test_a_missing_attribute_with_nothing_near_lists_what_the_module_defines(tmp_path: Path, write: Write) -> None:
    write("site_nine.py", "import os\nfrom json import dumps\nasync def main(scope, receive, send): ...")
    assert str(refusal(tmp_path, "site_nine:zzz")).endswith("It defines: main.")


def test_a_module_that_defines_nothing_is_said_to_be_perhaps_the_wrong_one(tmp_path: Path, write: Write) -> None:
    write("site_ten.py", "import os\nclass Model: ...")
    assert str(refusal(tmp_path, "site_ten:zzz")).endswith("is it the right module?")


def test_a_missing_attribute_of_an_attribute_says_of_which(tmp_path: Path, write: Write) -> None:
    write("site_eleven.py", "class Holder:\n    class deep:\n        application = None")
    error = refusal(tmp_path, "site_eleven:Holder.deep.aplication")
    assert "Object 'site_eleven:Holder.deep' has no attribute 'aplication'" in str(error)
    assert "Did you mean application?" in str(error)


# Things that are no applications.


class _Framework:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class _NeedsName:
    def __init__(self, name: str) -> None: ...


class _Flask:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


def _configured(config: Any) -> Any: ...


def _two(one: Any, two: Any) -> Any: ...


async def _coroutine_of_one(scope: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        (SimpleNamespace(), "but the object given is of type SimpleNamespace, which cannot be called."),
        (sys, "is the module 'sys', which cannot be called."),
        (
            _Framework,
            "the class '_Framework'. Create an instance of it in the module and name that, or add --factory",
        ),
        (_NeedsName, "the class '_NeedsName'. Create an instance of it in the module and name that."),
        (_Flask(), "it is a WSGI application. Wrap it"),
        (_configured, "takes (config). If it is an ASGI 2 application"),
        (_two, "takes (one, two). Is it the right object?"),
        (_coroutine_of_one, "takes (scope)."),
    ],
)
def test_what_is_no_application_is_refused_with_what_to_do(tmp_path: Path, app: Any, sentence: str) -> None:
    error = refusal(tmp_path, app)
    assert sentence in str(error)
    assert not error.show_traceback


def test_a_factory_without_the_flag_is_hinted_at(tmp_path: Path, write: Write) -> None:
    write("site_twelve.py", "def create_app():\n    raise AssertionError('called')")
    error = refusal(tmp_path, "site_twelve:create_app")
    assert str(error) == (
        "An ASGI application is called with (scope, receive, send), but 'site_twelve:create_app' takes no "
        "arguments. If it is a function that returns the application, add --factory."
    )


# Factories that do not give one.


def _raises() -> Any:
    raise LookupError("no settings module")


def _exits() -> Any:
    raise SystemExit(4)


async def _asynchronous() -> Any: ...


@pytest.mark.parametrize(
    ("factory", "sentence", "traceback_shown"),
    [
        (_raises, "The factory the object given raised LookupError: no settings module.", True),
        (_exits, "ended in SystemExit (4) instead of returning an application.", True),
        (_asynchronous, "is asynchronous, but applications are created before the event loop runs.", False),
        (_configured, "needs (config). Give its parameters defaults", False),
        (_plain, "takes (scope, receive, send), as an application does.", False),
        (lambda: None, "is None, which cannot be called. Is a return missing in it?", False),
        (lambda: lambda: None, "takes no arguments.", False),
        (7, "--factory expects a function that returns the application, but the object given is of type int.", False),
    ],
)
def test_a_factory_that_fails_says_how(tmp_path: Path, factory: Any, sentence: str, traceback_shown: bool) -> None:
    error = refusal(tmp_path, factory, factory=True)
    assert sentence in str(error)
    assert error.show_traceback is traceback_shown
    assert "add --factory" not in str(error)


def test_a_named_factory_that_raises_shows_only_its_own_frames(tmp_path: Path, write: Write) -> None:
    write("site_thirteen.py", "def make():\n    return {}['missing']")
    error = refusal(tmp_path, "site_thirteen:make", factory=True)
    assert "The factory 'site_thirteen:make' raised KeyError: 'missing'." in str(error)
    assert re.findall(r'File ".*/(\w+\.py)"', shown_traceback(error)) == ["site_thirteen.py"]

"""From the application's name to an ASGI 3 callable, or a sentence saying why not.

The traceback is shown when it is the application's own (its import or its factory raised), and cut to the
frames of the application; for everything else the sentence says what to do.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable
from types import ModuleType, TracebackType
from typing import Any, cast

from keepserve.asgi.types import App, Receive, Scope, Send
from keepserve.config.settings import Settings


class AppLoadError(Exception):
    """The application could not be loaded; ``str()`` is printable as it is. Exit code 3.

    ``show_traceback`` tells whether ``__cause__`` was raised by the application's own code, so that its
    traceback (already cut to the application's frames) helps and should be printed.
    """

    def __init__(self, message: str, show_traceback: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.show_traceback = show_traceback


def load_app(settings: Settings) -> App:
    """Import, if it is named, and check the application of ``settings``.

    ``settings.app_dir`` is put first on ``sys.path``. With ``settings.factory`` the attribute is called
    without arguments and what it returns is served. An ASGI 2 application (``app(scope)`` returns a
    coroutine function of ``receive`` and ``send``) is wrapped. Raises `AppLoadError`.
    """
    app = settings.app
    if app is None:
        raise AppLoadError(
            "No application was given: name it as module:attribute, for example main:app for the variable "
            '"app" in main.py.'
        )
    if isinstance(app, str):
        shown = repr(app)
        app = _import(app, settings.app_dir)
    else:
        shown = "the object given"
    if settings.factory:
        return _as_asgi3(f"what the factory {shown} returned", _call_factory(shown, app), from_factory=True)
    return _as_asgi3(shown, app, from_factory=False)


# Importing.


def _import(name: str, app_dir: str) -> object:
    module_name, colon, attribute = name.partition(":")
    _check_form(name, module_name, colon, attribute)
    directory = os.path.abspath(app_dir)
    if not sys.path or sys.path[0] != directory:
        sys.path.insert(0, directory)
    # A file written since the import system last looked, as under --reload, must be seen.
    importlib.invalidate_caches()
    return _find_attribute(name, _import_module(name, module_name, directory), attribute)


def _check_form(name: str, module_name: str, colon: str, attribute: str) -> None:
    problem = f"The application is named as module:attribute, but found {name!r}: "
    if "/" in module_name or "\\" in module_name or module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
        raise AppLoadError(
            f"{problem}a module goes by its dotted name, not its path. Try {dotted}:{attribute or 'app'}, "
            "and --app-dir for the directory it is in."
        )
    if not colon or not attribute:
        raise AppLoadError(
            f"{problem}the attribute is missing. If the application is the variable "
            f'"app" in that module, say {module_name or "main"}:app.'
        )
    if attribute.endswith(")"):
        raise AppLoadError(
            f"{problem}a call is not an attribute. Name the function and add --factory: "
            f"{module_name}:{attribute.partition('(')[0]} --factory."
        )
    for part in (*module_name.split("."), *attribute.split(".")):
        if not part.isidentifier():
            raise AppLoadError(f"{problem}{part!r} is not a Python name. Check the spelling.")


def _import_module(name: str, module_name: str, directory: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        _cut_to_the_application(error)
        missing = error.name or ""
        # Not found by us, rather than by an import statement in the application: no frame of it is left.
        if error.__traceback__ is None and f"{module_name}.".startswith(f"{missing}."):
            raise AppLoadError(_module_not_found(name, missing, directory)) from error
        raise AppLoadError(
            f"Could not import {module_name!r} for {name!r}: it was found, but it imports {missing!r}, which "
            "was not. Install that package in this environment, or correct the import.",
            show_traceback=True,
        ) from error
    except SystemExit as error:
        _cut_to_the_application(error)
        raise AppLoadError(
            f"Importing {module_name!r} for {name!r} ended in SystemExit ({error.code!r}): the module exits "
            'instead of defining an application. Put the exit under if __name__ == "__main__":.',
            show_traceback=True,
        ) from error
    except Exception as error:
        _cut_to_the_application(error)
        raise AppLoadError(
            f"Could not import {module_name!r} for {name!r}: it raised {_summary(error)}.",
            show_traceback=True,
        ) from error


def _module_not_found(name: str, missing: str, directory: str) -> str:
    parent, _, last = missing.rpartition(".")
    if not parent:
        where = f"in {directory} (--app-dir) and the rest of the import path"
        known: Iterable[str] = (found.name for found in pkgutil.iter_modules([directory]))
    else:
        package = sys.modules.get(parent)
        paths = getattr(package, "__path__", None)
        if paths is None:
            return (
                f"There is no module {missing!r}: {parent!r} is a module, not a package. "
                f"For an attribute of it say {parent}:{last}."
            )
        where = f"in the package {parent!r}"
        known = (found.name for found in pkgutil.iter_modules(paths))
    return (
        f"There is no module {missing!r} for the application {name!r}: looked {where}."
        + _did_you_mean(last, known, prefix=f"{parent}." if parent else "")
        + ("" if parent else " Check the spelling, or say where it is with --app-dir.")
    )


def _find_attribute(name: str, module: ModuleType, attribute: str) -> object:
    found: object = module
    path = module.__name__
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            names = [one for one in dir(found) if not one.startswith("__")]
            raise AppLoadError(
                f"{_kind(found)} {path!r} has no attribute {part!r}, which the application {name!r} needs."
                + (_did_you_mean(part, names) or _callables_hint(found, names))
            ) from error
        path = f"{path}:{part}" if found is not module and ":" not in path else f"{path}.{part}"
    return found


def _callables_hint(owner: object, names: list[str]) -> str:
    """What could be the application, when no name is near: things that are called with three arguments."""
    if not isinstance(owner, ModuleType):
        return ""
    here = owner.__name__
    candidates = []
    for one in names:
        if one.startswith("_"):
            continue
        value = getattr(owner, one, None)
        if callable(value) and getattr(value, "__module__", here) == here and not inspect.isclass(value):
            candidates.append(one)
    if not candidates:
        return " It defines nothing that could be an application; is it the right module?"
    return f" It defines: {', '.join(candidates[:5])}."


# Factories and applications.


def _call_factory(shown: str, factory: object) -> object:
    if not callable(factory):
        raise AppLoadError(
            f"--factory expects a function that returns the application, but {shown} is {_describe(factory)}."
        )
    if _accepts(factory, 0) is False:
        if _accepts(factory, 3) and not inspect.isclass(factory):
            raise AppLoadError(
                f"--factory expects a function without parameters, but {shown} takes {_signature(factory)}, as "
                "an application does. If it is the application itself, leave out --factory."
            )
        raise AppLoadError(
            f"--factory expects a function without parameters, but {shown} needs {_signature(factory)}. "
            "Give its parameters defaults, or name a function without parameters that calls it."
        )
    try:
        app: object = factory()
    except SystemExit as error:
        _cut_to_the_application(error)
        raise AppLoadError(
            f"The factory {shown} ended in SystemExit ({error.code!r}) instead of returning an application.",
            show_traceback=True,
        ) from error
    except Exception as error:
        _cut_to_the_application(error)
        raise AppLoadError(f"The factory {shown} raised {_summary(error)}.", show_traceback=True) from error
    if inspect.isawaitable(app):
        if inspect.iscoroutine(app):
            app.close()  # or Python warns that it was never awaited
        raise AppLoadError(
            f"The factory {shown} is asynchronous, but applications are created before the event loop runs. "
            "Make it an ordinary function, and move what must be awaited into the lifespan startup."
        )
    return app


def _as_asgi3(shown: str, app: object, *, from_factory: bool) -> App:
    expected = f"An ASGI application is called with (scope, receive, send), but {shown}"
    if not callable(app):
        hint = " Is a return missing in it?" if from_factory and app is None else ""
        raise AppLoadError(f"{expected} is {_describe(app)}, which cannot be called.{hint}")
    if inspect.isclass(app):
        return _class_as_asgi3(expected, app)
    if _looks_like_wsgi(app):
        raise AppLoadError(
            f"{expected} takes (environ, start_response): it is a WSGI application. Wrap it, for example with "
            "a2wsgi.WSGIMiddleware, or use the framework's ASGI entry point."
        )
    if _accepts(app, 3) is not False:
        # Also when the signature cannot be known (extension types): the first request will tell.
        return cast(App, app)
    if _accepts(app, 0):
        # A factory of factories is not offered --factory again.
        hint = "" if from_factory else " If it is a function that returns the application, add --factory."
        raise AppLoadError(f"{expected} takes no arguments.{hint}")
    if _accepts(app, 1) and not inspect.iscoroutinefunction(app):
        if _parameters(app)[:1] == ["scope"]:
            return _wrap_asgi2(app)
        raise AppLoadError(
            f"{expected} takes {_signature(app)}. If it is an ASGI 2 application, name its parameter scope; if "
            "it creates the application, write a function without parameters that calls it, and add --factory."
        )
    raise AppLoadError(f"{expected} takes {_signature(app)}. Is it the right object?")


def _class_as_asgi3(expected: str, app: type) -> App:
    """A class serves if its instances are awaited (ASGI 3) or called with two channels (ASGI 2)."""
    if hasattr(app, "__await__") and _accepts(app, 3):
        return app
    call = inspect.getattr_static(app, "__call__", None)
    channels = _parameters(call)[1:] if inspect.iscoroutinefunction(call) else []
    if len(channels) == 2 and _accepts(app, 1):
        return _wrap_asgi2(app)
    hint = ", or add --factory to have the class called" if _accepts(app, 0) else ""
    raise AppLoadError(
        f"{expected} is the class {app.__name__!r}. Create an instance of it in the module and name that{hint}."
    )


def _wrap_asgi2(app: Callable[[Scope], Any]) -> App:
    @functools.wraps(app, updated=())
    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope)(receive, send)

    return asgi3


# What things are called, and what they take.


def _accepts(function: object, count: int) -> bool | None:
    """Whether ``function`` can be called with ``count`` positional arguments; None if nobody can know."""
    if not callable(function):
        return False
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return None
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _parameters(function: object) -> list[str]:
    """Names of the parameters, empty when nobody can know them."""
    try:
        return list(inspect.signature(cast(Callable[..., object], function)).parameters)
    except (ValueError, TypeError):
        return []


def _signature(function: object) -> str:
    return f"({', '.join(_parameters(function))})"


def _looks_like_wsgi(app: object) -> bool:
    names = _parameters(app)
    return len(names) == 2 and names[0].endswith(("environ", "env")) and names[1].startswith("start")


def _describe(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, ModuleType):
        return f"the module {value.__name__!r}"
    return f"of type {type(value).__qualname__}"


def _kind(owner: object) -> str:
    return "Module" if isinstance(owner, ModuleType) else "Object"


def _summary(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    return f" Did you mean {' or '.join(prefix + one for one in near)}?"


def _cut_to_the_application(error: BaseException) -> None:
    """Drop our own frames and the import system's from the top of the traceback of ``error``.

    What remains begins at the application's first line; None remains when none of its code ran.
    """
    frames: TracebackType | None = error.__traceback__
    while frames is not None:
        filename = frames.tb_frame.f_code.co_filename
        if filename != __file__ and not filename.startswith("<frozen importlib") and filename != importlib.__file__:
            break
        frames = frames.tb_next
    error.__traceback__ = frames

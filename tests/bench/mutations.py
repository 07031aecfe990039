"""Small wrong changes to a module's source, one at a time: what good tests would notice.

    swap a comparison          a < b → a <= b, a >= b; == and !=; is, in and their opposites
    and / or                   swapped, and each operand dropped
    not                        dropped
    arithmetic                 + and -, * and /, shifts, masks swapped, also in `x += 1`
    constants                  n + 1, n - 1, the other truth value, a changed string
    conditions                 True, False; both sides of `a if c else b`; a filter dropped
    statements                 calls, assignments to attributes, raises, jumps, returned values dropped
    min / max, any / all       swapped
    except (A, B)              each type dropped

Left out, because a test that notices them only repeats the source: docstrings, annotations,
decorators, words of log events and errors (and log calls as a whole), f-strings, assertions (they
are for the type checker), and the number behind a module's named constant (`GRACE_S = 30`): such
a number is a choice, and its reason stands beside it.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}
# `log.info(...)`: `log` and `log.bind(...)` are the names of loggers throughout.
LOGGERS = ("log", "logger", "_log")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Changes = Iterator[tuple[str, ast.AST]]


@dataclass(frozen=True)
class Site:
    """A place in the tree, and what stands there."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    function: str

    def put(self, node: ast.AST) -> None:
        """Put `node` there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Mutant:
    """One change; `before` and `after` are its text, without what stands around it."""

    site: Site
    operator: str
    replacement: ast.AST
    before: str
    after: str

    @property
    def line(self) -> int:
        return getattr(self.site.node, "lineno", 0) or getattr(self.site.parent, "lineno", 0)

    @property
    def change(self) -> str:
        return f"{self.before} → {self.after}"


def read_mutants(path: Path) -> tuple[ast.Module, list[Mutant]]:
    """Return a file's tree, and the mutants of it; at most one may be put into the tree."""
    tree = ast.parse(path.read_text(), str(path))
    return tree, [
        _mutant(site, operator, replacement)
        for site in _sites(tree, "")
        for operator, replacement in _changes(site)
    ]


def _mutant(site: Site, operator: str, replacement: ast.AST) -> Mutant:
    # A constant alone, or a type of many, says little: show it with what it stands in.
    shown = site.parent if isinstance(site.node, ast.Constant | ast.Tuple) else site.node
    before = _text(shown)
    site.put(replacement)
    after = _text(replacement if shown is site.node else shown)
    site.put(site.node)
    return Mutant(site, operator, replacement, before, after)


def _text(node: ast.AST) -> str:
    """Return the source of an expression, or of a statement without the block below it."""
    if isinstance(node, ast.ExceptHandler):
        return f"except {ast.unparse(node.type)}" if node.type else "except"
    if isinstance(node, ast.keyword | ast.arguments | ast.comprehension | ast.expr):
        return " ".join(ast.unparse(node).split())
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split("\n")[0].split())


def _sites(node: ast.AST, function: str) -> Iterator[Site]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_left_out(node, child):
                continue
            yield Site(node, field, index if isinstance(value, list) else None, child, function)
            yield from _sites(child, _qualify(function, child))


def _qualify(function: str, node: ast.AST) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{function}.{node.name}".lstrip(".")
    return function


def _is_left_out(parent: ast.AST, node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=called)):
            return _is_logger(called)
        case ast.Constant() if isinstance(parent, ast.Call | ast.keyword):
            return False
        case ast.Assign(targets=[ast.Name()], value=value) if isinstance(parent, ast.Module):
            return _is_number(value)
        case ast.Call() if isinstance(parent, ast.Raise):
            return True
    return False


def _is_logger(called: ast.expr) -> bool:
    while isinstance(called, ast.Attribute | ast.Call):
        called = called.func if isinstance(called, ast.Call) else called.value
    return isinstance(called, ast.Name) and called.id in LOGGERS


def _is_number(value: ast.expr) -> bool:
    allowed = ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.Name
    return all(
        isinstance(node, allowed | ast.expr_context)
        and not (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
        for node in ast.walk(value)
    )


def _changes(site: Site) -> Changes:
    for operator in OPERATORS:
        for replacement in operator(site):
            yield operator.__name__.lstrip("_"), _located(replacement, site.node)


def _located(replacement: ast.AST, node: ast.AST) -> ast.AST:
    if isinstance(replacement, ast.expr | ast.stmt) and isinstance(node, ast.expr | ast.stmt):
        ast.copy_location(replacement, node)
    return ast.fix_missing_locations(replacement)


def _comparison(site: Site) -> Iterator[ast.AST]:
    if isinstance(node := site.node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                yield ast.Compare(node.left, operators, node.comparators)


def _and_or(site: Site) -> Iterator[ast.AST]:
    if isinstance(node := site.node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def _operand(site: Site) -> Iterator[ast.AST]:
    if isinstance(node := site.node, ast.BoolOp):
        for index in range(len(node.values)):
            rest = [*node.values[:index], *node.values[index + 1 :]]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _not(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand


def _arithmetic(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
            if not (_is_text(left) or _is_text(right)):
                yield ast.BinOp(left, ARITHMETIC[type(operator)](), right)
        case ast.AugAssign(target, operator, value) if type(operator) in ARITHMETIC:
            yield ast.AugAssign(target, ARITHMETIC[type(operator)](), value)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _constant(site: Site) -> Iterator[ast.AST]:
    if not isinstance(node := site.node, ast.Constant):
        return
    match node.value:
        case bool(value):
            yield ast.Constant(not value)
        case int(value) | float(value):
            yield ast.Constant(value + 1)
            if value:
                yield ast.Constant(value - 1)
        case str(value):
            yield ast.Constant(value + "z")
        case bytes(value):
            yield ast.Constant(value + b"z")


def _condition(site: Site) -> Iterator[ast.AST]:
    is_condition = site.field == "test" and isinstance(site.parent, ast.If)
    if is_condition or (site.field == "ifs" and isinstance(site.parent, ast.comprehension)):
        yield ast.Constant(value=True)
    if is_condition or (site.field == "test" and isinstance(site.parent, ast.While)):
        yield ast.Constant(value=False)


def _side(site: Site) -> Iterator[ast.AST]:
    if isinstance(node := site.node, ast.IfExp):
        yield node.body
        yield node.orelse


def _statement(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Delete() | ast.Raise():
            yield ast.Pass()
        case ast.AugAssign() | ast.Continue() | ast.Break() | ast.Return(value=None):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Return(value=ast.Constant(value=None)):
            yield ast.Pass()
        case ast.Return():
            yield ast.Return(ast.Constant(None))


def _opposite(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.Call(func=ast.Name(id=name)) as node if name in OPPOSITES:
            yield ast.Call(ast.Name(OPPOSITES[name], ast.Load()), node.args, node.keywords)


def _except_type(site: Site) -> Iterator[ast.AST]:
    if isinstance(site.parent, ast.ExceptHandler) and isinstance(node := site.node, ast.Tuple):
        for index in range(len(node.elts)):
            yield ast.Tuple([*node.elts[:index], *node.elts[index + 1 :]], ast.Load())


OPERATORS: tuple[Callable[[Site], Iterator[ast.AST]], ...] = (
    _comparison,
    _and_or,
    _operand,
    _not,
    _arithmetic,
    _constant,
    _condition,
    _side,
    _statement,
    _opposite,
    _except_type,
)

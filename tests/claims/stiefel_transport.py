"""Vector transport to orthonormal columns, eq. 46: where the momentum is tangent, and how much of it is lost."""

from __future__ import annotations

from derivations import words
from derivations.decide import all_of
from derivations.information import stiefel
from derivations.information.stiefel import END, GRADIENT, OTHER, POINT, projected
from numerics import constraints, manifolds
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, vanishes
from tests.claims.manifold_layers import ORTHONORMAL, SURFACES, on_manifold, vector_rounding
from tests.claims.settings import array
from tests.claims.stiefel import NETS, letters

transport = Claim(
    "stiefel.transport",
    source="B eq. 46",
    says="Vector transport projects the momentum on the tangent space at the end of the step, as for the gradient.",
    formula=lambda: projected(OTHER, at=END),
    lhs=r"T_\zeta(\xi)",
    given=(ORTHONORMAL,),
    uses=("stiefel.gradient",),
    near_misses={
        "projected where the step began": lambda: projected(OTHER, at=POINT),
        "without the half": lambda: OTHER - END * (END.T * OTHER) + END * (END.T * OTHER - OTHER.T * END),
    },
    falsifiers={"momentum left as it is": lambda: words.expression(OTHER)},
    remark=(
        "It is not parallel transport: the two agree to first order in the step, and beyond it the projection shortens "
        "the momentum. The transpose that the printed equation lacks is the one of eq. 44."
    ),
)


@transport.proof(generic_in="sizes n >= p, momentum")
def projection_at_the_end(formula):
    """The same projection, with the end of the step in place of the point."""
    renamed = words.substitute(formula, {END: words.expression(POINT), OTHER: words.expression(GRADIENT)})
    return all_of(stiefel.is_projection(renamed), words.vanishes(words.differential(formula, {POINT: OTHER})))


def transported(depth: int, widths, seed: int):
    """The layers of a network with the ends of their QR steps."""
    subject = on_manifold("stiefel", depth, widths, seed)
    return subject, [(one, manifolds.qr_retraction(one.w, one.velocity)) for one in subject.layers]


@transport.check(NETS)
def projected_at_the_end(formula, depth, widths, seed):
    """Momentum projected on the kernel of the constraint's Jacobian at the end of a QR step of a network's layers."""
    subject, moved = transported(depth, widths, seed)
    found = []
    for layer, end in moved:
        observed = constraints.tangent(SURFACES["stiefel"], end, layer.other)
        predicted = words.evaluate(formula, letters(layer) | {END: array(end)})
        scale = float(layer.other.abs().max())
        found.append(agree(observed, predicted, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)


shortens = Claim(
    "stiefel.transport-shortens",
    source="beyond B",
    says="Vector transport by projection shortens the momentum by what it would stretch at the end of the step.",
    formula=stiefel.transported_square,
    lhs=r"\lVert T_\zeta(\xi) \rVert^2",
    given=(ORTHONORMAL,),
    uses=("stiefel.transport",),
    near_misses={"half of the loss": lambda: (stiefel.transported_square() + _square(OTHER)) / 2},
    falsifiers={
        "length kept, as by parallel transport": lambda: _square(OTHER),
        "what leaves the span of the columns": lambda: _square(OTHER - END * (END.T * OTHER)),
    },
    remark=(
        "The loss is of second order in the step. Momentum that is carried through many steps fades by it, which "
        "parallel transport, as the paper uses it on unit columns, avoids."
    ),
)


def _square(vector):
    return stiefel.inner(vector, vector)


@shortens.proof(generic_in="sizes n >= p, momentum")
def right_angle(formula):
    """The squared length of the projection, with orthonormal columns at the end of the step."""
    return stiefel.is_transported_square(formula)


@shortens.check(NETS)
def length_after_projection(formula, depth, widths, seed):
    """Length of momentum projected by the constraint's Jacobian at the end of a QR step of a network's layers."""
    subject, moved = transported(depth, widths, seed)
    found = []
    for layer, end in moved:
        observed = constraints.tangent(SURFACES["stiefel"], end, layer.other).square().sum()
        predicted = words.evaluate(formula, letters(layer) | {END: array(end)})
        scale = float(layer.other.square().sum())
        found.append(agree(observed, predicted, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)


def _tangency(base):
    moved = projected(OTHER, at=END)
    return base.T * moved + moved.T * base


GEODESIC_END = words.Letter("E", *POINT.shape, latex=r"\mathrm{Exp}_W(\zeta)")
wording = Claim(
    "stiefel.transport-along-geodesic-as-printed",
    source="B eq. 46",
    says="Vector transport moves the momentum along the geodesic of the step: it ends tangent at the geodesic's end.",
    formula=lambda: _tangency(GEODESIC_END),
    control=lambda: _tangency(END),
    corrected_by=("stiefel.transport", "stiefel.qr-order"),
    lhs="0",
    given=(ORTHONORMAL,),
    near_misses={"tangent where the step began": lambda: _tangency(POINT)},
    falsifiers={"momentum not moved": lambda: END.T * OTHER + OTHER.T * END},
    remark=(
        "The momentum is tangent at the end of the QR curve, which leaves the geodesic at second order of the step as "
        "soon as there are two columns. The method is sound, the sentence about it is not."
    ),
    mutate=False,
)


@wording.check(grid(depth=[1, 2], widths=["square", "widening"], seed=range(2)))
def tangent_at_the_end(formula, depth, widths, seed):
    """The transported momentum of a network's layers at the ends of the QR step and of the geodesic."""
    subject, moved = transported(depth, widths, seed)
    found = []
    for layer, end in moved:
        goal = manifolds.stiefel_exponential(layer.w, layer.velocity)
        values = words.evaluate(formula, letters(layer) | {END: array(end), GEODESIC_END: array(goal)})
        scale = float(layer.other.abs().max())
        found.append(vanishes(values, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)

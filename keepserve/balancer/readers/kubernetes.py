"""Kubernetes manifests: the workloads that run us, and the ingresses and meshes in front of them.

One file may hold many objects. Read are Deployment, StatefulSet, DaemonSet, ReplicaSet, Rollout and Pod; the
ConfigMap and Ingress of ingress-nginx; the Ingress of the AWS Load Balancer Controller; Istio's DestinationRule and
VirtualService; Envoy Gateway's BackendTrafficPolicy. The Gateway API's own objects, whose meaning depends on who runs
them, and those of other ingress controllers are named in a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from keepserve.balancer.facts import Pool, Reading, UnreadableError
from keepserve.balancer.readers.documents import load, try_load
from keepserve.balancer.readers.kubernetes_alb import alb_pool, is_alb
from keepserve.balancer.readers.kubernetes_gateway import policy_pool
from keepserve.balancer.readers.kubernetes_ingress import ingress_pools, is_configmap, is_ingress
from keepserve.balancer.readers.kubernetes_istio import istio_pools
from keepserve.balancer.readers.kubernetes_workloads import WORKLOADS, workload_pool
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence

KIND = "kubernetes"
TITLE = "Kubernetes"

_FRONTS = (
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "traefik.io",
    "traefik.containo.us",
    "projectcontour.io",
    "elbv2.k8s.aws",
)
"""API groups of what may stand in front of us and is not read."""


def looks_like(path: str, text: str) -> bool:
    """Whether the documents are Kubernetes objects."""
    return any(_is_object(document) for document in try_load(path, text))


def read(path: str, text: str) -> Reading:
    """A pool for each workload, ingress and traffic policy. Raises UnreadableError."""
    objects: list[Mapping] = []
    for document in load(path, text):
        if not _is_object(document) or not isinstance(document, Mapping):
            raise UnreadableError(
                f'{document.place}: this is not a Kubernetes object: it has no "apiVersion" and "kind".'
            )
        objects += _flattened(document)
    pools: list[Pool] = []
    unread: list[str] = []
    configmaps, ingresses, istio = [], [], []
    for item in objects:
        group, kind = item.string("apiVersion").rpartition("/")[0], item.string("kind")
        if kind in WORKLOADS:
            pools.append(workload_pool(item))
        elif kind == "ConfigMap" and is_configmap(item):
            configmaps.append(item)
        elif kind == "Ingress" and is_ingress(item):
            ingresses.append(item)
        elif kind == "Ingress" and is_alb(item):
            pools.append(alb_pool(item))
        elif group == "networking.istio.io" and kind in ("DestinationRule", "VirtualService"):
            istio.append(item)
        elif group == "gateway.envoyproxy.io" and kind == "BackendTrafficPolicy":
            pools.append(policy_pool(item))
        elif kind == "Ingress" or group in _FRONTS:
            unread.append(f"{kind} {item.string('metadata', 'name')} ({item.place})")
    pools += ingress_pools(configmaps, ingresses)
    pools += istio_pools(istio)
    notes = []
    if unread:
        notes.append(
            "Not compared, because what these mean for connections to us depends on who runs them: "
            f"{', '.join(unread)}. Give that controller's own policies or settings."
        )
    if not pools:
        notes.append("None of the objects in this file says anything about connections to us or about stopping us.")
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _is_object(node: Node) -> bool:
    if not isinstance(node, Mapping):
        return False
    return all(isinstance(node.entries.get(key), Scalar) for key in ("apiVersion", "kind"))


def _flattened(item: Mapping) -> Iterator[Mapping]:
    """The object, or those of a List (kubectl get -o yaml)."""
    items = item.entries.get("items")
    if not item.string("kind").endswith("List") or not isinstance(items, Sequence):
        yield item
        return
    for child in items.mappings():
        if not _is_object(child):
            raise UnreadableError(
                f'{child.place}: this is not a Kubernetes object: it has no "apiVersion" and "kind".'
            )
        yield from _flattened(child)

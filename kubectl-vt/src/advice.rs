//! What to do next, by the reason of a condition. The same table stands in `docs/kubernetes/troubleshooting.md`, which a test compares.

#[cfg(test)]
mod tests;

/// A reason that is not fine, and what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Reason of a condition or a source.
    pub(crate) reason: &'static str,
    /// What it means.
    pub(crate) means: &'static str,
    /// What to do. `NAME` and `NAMESPACE` are the table's.
    pub(crate) next: &'static str,
}

const fn on(reason: &'static str, means: &'static str, next: &'static str) -> Advice {
    Advice {
        reason,
        means,
        next,
    }
}

/// Every reason that asks for somebody, in the order in which a table comes up.
pub(crate) const ADVICE: &[Advice] = &[
    on(
        "Pending",
        "no operator has looked at the table yet",
        "check that the operator runs and leads: kubectl get pods -A -l app.kubernetes.io/part-of=vdt,app.kubernetes.io/component=operator; helm test says what it lacks",
    ),
    on(
        "InvalidSpec",
        "the resource breaks a rule; nothing is changed",
        "correct the field that the message names and apply again; kubectl vt plan -f FILE says whether it is taken",
    ),
    on(
        "Unsupported",
        "the resource asks for what this version does not build",
        "take the field that the message names out, or run a newer operator",
    ),
    on(
        "NameTaken",
        "an object of a child's name belongs to somebody else",
        "rename that object, or make the VirtualTable under another name",
    ),
    on(
        "WouldDropCache",
        "the change would make more caches cold than rollout.maxUnavailable",
        "set spec.server.rollout.cachePolicy to Discard, or take the change back",
    ),
    on(
        "ApplyFailed",
        "the API server did not take a child; it is tried again",
        "read the message: a quota, a policy, or a right that the operator lacks (vdt-operator check)",
    ),
    on(
        "SecretNotFound",
        "a Secret that the table refers to does not exist",
        "create it in the table's namespace; it is seen within seconds",
    ),
    on(
        "ConfigMapNotFound",
        "a ConfigMap that the table refers to does not exist",
        "create it in the table's namespace; it is seen within seconds",
    ),
    on(
        "ClaimNotFound",
        "a PersistentVolumeClaim that the table refers to does not exist",
        "create it in the table's namespace; it is seen within seconds",
    ),
    on(
        "Unschedulable",
        "no node takes a pod",
        "kubectl -n NAMESPACE describe pod says why: cpu, memory, a volume's node, or taints",
    ),
    on(
        "PodFailed",
        "a container does not start by itself",
        "kubectl -n NAMESPACE describe pod; an image that cannot be pulled needs spec.server.images or its pullSecrets",
    ),
    on(
        "PodsNotReady",
        "pods are not there or not ready yet",
        "wait a minute; where the message says that a pod is not there, kubectl -n NAMESPACE describe statefulset NAME says why (a quota, a policy, a ServiceAccount); else kubectl -n NAMESPACE logs NAME-0 -c server, and -c sidecar",
    ),
    on(
        "RollingOut",
        "pods are replaced, one after the other; the others serve",
        "wait; kubectl vt status NAME shows how far it is",
    ),
    on(
        "Following",
        "pods take over a changed manifest while they run",
        "wait some seconds; kubectl vt status NAME shows which pod is behind",
    ),
    on(
        "NotReported",
        "no pod has said anything about it yet",
        "wait for a pod; if they are ready, a NetworkPolicy may keep the operator from port 8081",
    ),
    on(
        "ScaledToZero",
        "no pods are wanted",
        "kubectl -n NAMESPACE scale vt/NAME --replicas=1 wakes it up",
    ),
    on(
        "Suspended",
        "spec.suspend stops refreshes and changes; what is there is served",
        "set spec.suspend to false when changes are wanted again",
    ),
    on(
        "Paused",
        "the annotation vdt.io/paused stops the operator",
        "kubectl -n NAMESPACE annotate vt/NAME vdt.io/paused- lets it go on",
    ),
    on(
        "Listing",
        "the first listing is under way",
        "wait; large buckets take minutes",
    ),
    on(
        "SourceShrunk",
        "a source lost more than half of its artifacts and is held at its last state",
        "check the bucket and prefix; if the loss is meant, set spec.refresh.onShrink to Apply",
    ),
    on(
        "Shrunk",
        "this source lost more than half of its artifacts and is held at its last state",
        "check the bucket and prefix; if the loss is meant, set spec.refresh.onShrink to Apply",
    ),
    on(
        "Superseded",
        "another pod follows a newer edition of the resource; this one serves what that commits",
        "wait until all pods follow it: Reconciling says how far that is",
    ),
    on(
        "SourceFailed",
        "a source could not be listed; the last version stands",
        "read the message of the source below",
    ),
    on(
        "SourceNotFound",
        "the bucket, folder or claim does not exist",
        "correct the bucket, the prefix or the endpoint of the source",
    ),
    on(
        "SourceUnreachable",
        "the source does not answer",
        "check endpoint, region and the way out of the namespace (NetworkPolicy, DNS, proxy)",
    ),
    on(
        "SourceInvalid",
        "the source is declared in a way that cannot work",
        "correct the field that the message names",
    ),
    on(
        "SourceUnsupported",
        "this version does not read sources of this type",
        "copy the listing into a bucket, or run a newer version",
    ),
    on(
        "AccessDenied",
        "the credentials hold but may not list or read",
        "grant s3:ListBucket and s3:GetObject on the prefix",
    ),
    on(
        "CredentialsRejected",
        "the credentials do not hold",
        "put the right ones into the Secret; pods have them within a minute, with secrets.watch=true within seconds",
    ),
    on(
        "SecretMissing",
        "the Secret lacks a key that the source needs",
        "add the key that the message names; docs/access.md lists them",
    ),
    on(
        "TlsFailed",
        "the source's certificate is not trusted",
        "set caBundle of the source to a ConfigMap with its authority",
    ),
    on(
        "ListingInvalid",
        "the source answers in a way that is no listing",
        "check that the endpoint speaks S3, and pathStyle",
    ),
    on(
        "ReadFailed",
        "a file or folder cannot be read",
        "check its rights: pods read through supplementalGroups of spec.server.podTemplate",
    ),
    on(
        "ManifestInvalid",
        "the pods cannot use what they were told",
        "server and operator are of different versions: check spec.server.images",
    ),
    on(
        "OtherOwner",
        "the state store belongs to another resource",
        "give the table a state of its own, or its old name and namespace back",
    ),
    on(
        "StateUnavailable",
        "the state store cannot be read or written",
        "check bucket, endpoint and credentials of spec.server.state: it must be writable",
    ),
    on(
        "StateFailed",
        "the state store cannot be opened",
        "read the message, and correct what it names of spec.server.state; it is tried again by itself",
    ),
    on(
        "StateMissing",
        "the state store is empty where a version is expected",
        "bring the bucket or claim back; the history is in it",
    ),
    on(
        "StateNewer",
        "a newer version wrote the state store",
        "run that version again: state is not taken back",
    ),
    on(
        "StateLocked",
        "another process writes the state store",
        "wait for the other pod to end; a claim is for one pod",
    ),
    on(
        "StateCorrupt",
        "the state store holds what cannot be read",
        "keep a copy, then restore it from a backup; readers see the last version meanwhile",
    ),
    on(
        "LayoutFailed",
        "artifacts could not be laid out",
        "report it with the message: it is a fault of vdt",
    ),
    on(
        "Contended",
        "another replica committed again and again",
        "nothing: the next refresh takes its turn",
    ),
    on(
        "Cancelled",
        "a task of the server ended early",
        "nothing: the next refresh tries again; if it comes back, report it with the message",
    ),
    on(
        "CacheSmaller",
        "the cache's volume is smaller than asked for; what there is of it is used",
        "nothing has to be done; for all of it, give the volume the size of spec.server.cache.disk.capacity",
    ),
    on(
        "DiskTooSmall",
        "the cache's volume is too small for a disk tier; memory serves alone",
        "give the cache a larger volume: spec.server.cache.disk.capacity",
    ),
    on(
        "DiskFull",
        "the cache's volume is full; memory serves alone",
        "free it, or give the cache a volume of its own",
    ),
    on(
        "DiskReadOnly",
        "the cache's volume cannot be written",
        "delete the pod: it gets the volume anew; then look at the node's disk",
    ),
    on(
        "DiskGone",
        "the cache's volume went away",
        "delete the pod: it gets the volume anew",
    ),
    on(
        "DiskFailed",
        "the cache's disk fails; memory serves alone",
        "replace the disk; the cache fills itself again",
    ),
    on(
        "CacheDegraded",
        "a tier of the cache is not as asked for",
        "kubectl vt top NAME shows which",
    ),
    on(
        "ClaimNotExpanded",
        "a claim, of a cache or of the state, could not be made larger; what there is of it is used",
        "let its StorageClass expand volumes (allowVolumeExpansion: true): it is tried again by itself. Else, a cache only and one after the other: kubectl -n NAMESPACE delete pvc/cache-NAME-0 pod/NAME-0; both come back, the cache cold. The claim of the state holds the history: never delete it",
    ),
    on(
        "ClaimDiffers",
        "the claim of the state is of another storage class, which no claim can change",
        "set spec.server.state.claim.storageClassName to the one that the message names",
    ),
    on(
        "DefinitionMissing",
        "the table wants an object of a kind that the cluster does not have",
        "install that operator, or turn the field off that the message names",
    ),
];

/// What to do about a reason.
pub(crate) fn next(reason: &str, namespace: &str, name: &str) -> Option<String> {
    let advice = ADVICE.iter().find(|advice| advice.reason == reason)?;
    // The longer word first: one is the beginning of the other.
    Some(
        advice
            .next
            .replace("NAMESPACE", namespace)
            .replace("NAME", name),
    )
}

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
        "no operator has seen the table yet",
        "check that the operator runs and leads: kubectl get pods -A -l app.kubernetes.io/part-of=vdt,app.kubernetes.io/component=operator; helm test --logs says what it lacks",
    ),
    on(
        "InvalidSpec",
        "the resource breaks a rule; nothing is changed",
        "correct the field that the message names and apply again; kubectl vt plan -f FILE says whether it is accepted",
    ),
    on(
        "Unsupported",
        "the resource asks for something that this version does not support",
        "remove the field that the message names, or run a newer operator",
    ),
    on(
        "NameTaken",
        "an object with the name of a child already exists and belongs to somebody else",
        "rename that object, or create the VirtualTable under another name",
    ),
    on(
        "WouldDropCache",
        "the change would make more caches cold than rollout.maxUnavailable",
        "set spec.server.rollout.cachePolicy to Discard, or revert the change",
    ),
    on(
        "ApplyFailed",
        "the API server rejected a child object; it is retried",
        "read the message: a quota, a policy, or a permission that the operator lacks (helm test --logs lists those; vdt-operator check, run from a laptop, checks the caller's permissions)",
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
        "no node can run a pod",
        "kubectl -n NAMESPACE describe pod says why: cpu, memory, a volume's node, or taints",
    ),
    on(
        "PodFailed",
        "a container does not start, and will not without help",
        "kubectl -n NAMESPACE describe pod; an image that cannot be pulled needs spec.server.images or its pullSecrets",
    ),
    on(
        "PodsNotReady",
        "pods are missing or not ready yet",
        "wait a minute; if the message says that a pod is missing or not taken in by its StatefulSet, kubectl -n NAMESPACE describe statefulset NAME says why (a quota, a policy, a ServiceAccount); otherwise kubectl -n NAMESPACE logs NAME-0 -c server, and -c sidecar",
    ),
    on(
        "RollingOut",
        "pods are being replaced, one after the other; the others serve",
        "wait; kubectl vt status NAME shows how far it is; if the message says that a pod is missing or not taken in by its StatefulSet, kubectl -n NAMESPACE describe statefulset NAME says why (a quota, a policy, a ServiceAccount)",
    ),
    on(
        "Terminating",
        "an object of the table is being deleted; it is created again once it is gone",
        "wait; if it stays, kubectl -n NAMESPACE get KIND NAME -o yaml shows the finalizer that blocks it",
    ),
    on(
        "Following",
        "running pods are taking over a changed manifest",
        "wait a few seconds; kubectl vt status NAME shows which pod is behind",
    ),
    on(
        "NotReported",
        "no pod has reported on it yet",
        "wait for a pod; if pods are ready, a NetworkPolicy may be blocking the operator from port 8081, the clocks of nodes differ by more than 5 s, or the operator's key has just changed, which takes a minute",
    ),
    on(
        "ScaledToZero",
        "replicas is 0",
        "kubectl -n NAMESPACE scale vt/NAME --replicas=1 wakes it up",
    ),
    on(
        "Suspended",
        "spec.suspend stops refreshes and changes; existing versions are served",
        "set spec.suspend to false when changes are wanted again",
    ),
    on(
        "Paused",
        "the annotation vdt.io/paused stops the operator",
        "kubectl -n NAMESPACE annotate vt/NAME vdt.io/paused- resumes it",
    ),
    on(
        "Listing",
        "the first listing is under way",
        "wait; large buckets take minutes",
    ),
    on(
        "SourceShrunk",
        "more than half of a source's artifacts are missing; it is held at its last state",
        "check the bucket and prefix; if the loss is intended, set spec.refresh.onShrink to Apply",
    ),
    on(
        "Shrunk",
        "more than half of this source's artifacts are missing; it is held at its last state",
        "check the bucket and prefix; if the loss is intended, set spec.refresh.onShrink to Apply",
    ),
    on(
        "Superseded",
        "another pod follows a newer edition of the resource; this one serves what that pod commits",
        "wait until all pods follow it: Reconciling says how far that is",
    ),
    on(
        "SourceFailed",
        "a source could not be listed; the last version is still served",
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
        "check endpoint, region and the network path out of the namespace (NetworkPolicy, DNS, proxy)",
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
        "the credentials are valid but lack permission to list or read",
        "grant s3:ListBucket and s3:GetObject on the prefix; for a state also s3:PutObject",
    ),
    on(
        "CredentialsRejected",
        "the credentials are not valid",
        "correct them in the Secret; pods see them within a minute, with secrets.watch=true within seconds",
    ),
    on(
        "SecretMissing",
        "the Secret of a source or of the state lacks a key, or the ConfigMap of its caBundle lacks certificates",
        "add what the message names; docs/access.md lists the keys of every Secret",
    ),
    on(
        "TlsFailed",
        "the source's certificate is not trusted",
        "set the source's caBundle to a ConfigMap that contains its certificate authority",
    ),
    on(
        "ListingInvalid",
        "the source's answer is not a valid listing",
        "check that the endpoint speaks S3, and pathStyle",
    ),
    on(
        "ReadFailed",
        "a file or folder cannot be read",
        "check its permissions: pods can read through supplementalGroups in spec.server.podTemplate.securityContext",
    ),
    on(
        "ManifestInvalid",
        "the pods cannot use the manifest that they were given",
        "correct the field that the message names; if it names nothing of yours, server and operator may be of different versions: check spec.server.images",
    ),
    on(
        "OtherOwner",
        "the state store belongs to another resource",
        "delete the VirtualTable, which deletes no state, and create it again with a state of its own, or with its old name and namespace",
    ),
    on(
        "StateUnavailable",
        "the state store cannot be read or written",
        "check bucket, endpoint and credentials of spec.server.state: it must be writable. A claim may be full: enlarge spec.server.state.claim",
    ),
    on(
        "StateFailed",
        "the state store cannot be opened",
        "read the message, and correct the field of spec.server.state that it names; it is retried automatically",
    ),
    on(
        "StateMissing",
        "the state store is empty where a version is expected",
        "restore the bucket or claim: it contains the history. If it was emptied on purpose, delete the table's pods: they begin anew",
    ),
    on(
        "StateNewer",
        "a newer version wrote the state store",
        "run that version again: state cannot be downgraded",
    ),
    on(
        "StateLocked",
        "another process holds the state store",
        "wait for the other pod to end: only one pod can use a claim",
    ),
    on(
        "StateCorrupt",
        "the state store contains data that cannot be read",
        "keep a copy, then restore it from a backup; readers see the last version meanwhile",
    ),
    on(
        "LayoutFailed",
        "artifacts could not be laid out",
        "report it with the message: it is a bug in vdt",
    ),
    on(
        "Contended",
        "another replica committed again and again",
        "nothing: the next refresh tries again",
    ),
    on(
        "Cancelled",
        "a task of the server ended early",
        "nothing: the next refresh tries again; if it recurs, report it with the message",
    ),
    on(
        "CacheSmaller",
        "the cache's volume is smaller than requested; what there is of it is used",
        "nothing needs to be done; for the full size, give the volume spec.server.cache.disk.capacity and delete the pod",
    ),
    on(
        "DiskTooSmall",
        "the cache's volume is too small for a disk tier; only memory is used",
        "give the cache a larger volume: spec.server.cache.disk.capacity. An EmptyDir takes no more of its node's disk once 18 % are free: free some, or use type EphemeralVolume",
    ),
    on(
        "DiskFull",
        "the cache's volume is full; only memory is used",
        "free space, or give the cache a volume of its own; the disk tier is retried automatically",
    ),
    on(
        "DiskReadOnly",
        "the cache's volume cannot be written",
        "delete the pod, so that its volume is mounted again; if that does not help, the node's disk is broken: kubectl -n NAMESPACE delete pvc/cache-NAME-0 pod/NAME-0 gives the pod another one, with a cold cache",
    ),
    on(
        "DiskGone",
        "the cache's volume has disappeared",
        "delete the pod, so that its volume is mounted again; if the new one waits for a volume that is no longer there: kubectl -n NAMESPACE delete pvc/cache-NAME-0 pod/NAME-0 gives it another one, with a cold cache",
    ),
    on(
        "DiskFailed",
        "the cache's disk is faulty; only memory is used",
        "replace the disk; the cache refills on its own. For a claim on another disk: kubectl -n NAMESPACE delete pvc/cache-NAME-0 pod/NAME-0",
    ),
    on(
        "CacheDegraded",
        "a tier of the cache is not as requested",
        "kubectl vt top NAME shows which",
    ),
    on(
        "ClaimNotExpanded",
        "a claim, of a cache or of the state, could not be expanded; its current size is used",
        "let its StorageClass expand volumes (allowVolumeExpansion: true): it is retried automatically. Otherwise, for caches only and one at a time: kubectl -n NAMESPACE delete pvc/cache-NAME-0 pod/NAME-0; both come back, with a cold cache. The claim of the state contains the history: never delete it",
    ),
    on(
        "FileSystemResizePending",
        "the claim of the state was expanded, but its file system only grows when it is mounted again",
        "delete the pod, so that its volume is mounted again: kubectl -n NAMESPACE delete pod/NAME-0",
    ),
    on(
        "ClaimDiffers",
        "the claim of the state has another storage class, which cannot be changed on a claim",
        "delete the VirtualTable, whose claim stays, and create it again with spec.server.state.claim.storageClassName as the message names it",
    ),
    on(
        "OperatorsOverlap",
        "another operator manages the table too; the one that was there first continues",
        "let one of the two releases serve the namespace only: scope and watchNamespace of the chart",
    ),
    on(
        "DefinitionMissing",
        "the table needs an object of a kind that the cluster does not have",
        "install that operator, or turn off the field that the message names",
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

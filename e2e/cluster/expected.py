"""What pods and operators of the cluster's tests may complain of, and why. `where` is the beginning of a test's namespace, without `e2e-`;
`system-faults` is that of the operator of `test_faults`."""

from lib.complaints import Expected

LEASE = "cannot (compete for|renew) the lease|cannot give the lease up"

NO_RIGHT = "(a watch failed and is begun again|watch initlist error).*forbidden"

EXPECTED = [
    Expected("", r"panicked at .*kernel_engine.*/executor\.rs", "a read of a log that is under way when its process ends: the kernel of Delta Lake panics then"),
    Expected("", "(tasks|looks under way|reads of the disk cache) did not end in time|disk cache( that was left)? did not close in time|cache was not flushed in time|warm-up is not finished", "two cores carry three suites"),
    Expected("", "disk cache is smaller than asked", "an EmptyDir leaves a part of its node's disk to others, and all nodes have that of this machine"),
    Expected("", "(trying again|the lease).*(because it is being terminated|namespaces .* not found)", "the namespace of the test before is still on its way out"),
    Expected("", "trying again.*(metadata.uid: Invalid value|Operation cannot be fulfilled|the object has been modified)", "changed or made anew since it was read: it is tried again"),
    Expected("", f"({LEASE}).*(is forbidden|Unauthorized)", "a release is uninstalled: its rights and its account go before its pods have ended"),
    Expected("", rf"^(?!.*\bsecrets\b).*{NO_RIGHT}", "a release is made or changed: its rights count a moment after its pods have begun"),
    Expected("system-", f"{NO_RIGHT}.*secrets", "the same, of releases with secrets.watch=true; no other may list them"),
    Expected("", "a watch failed and is begun again.*too old resource version", "the API server remembers so many events, and the last one that a watch has seen is no longer among them"),
    Expected("", r"storage is \(re\)initializing", "the definition has just been made or changed"),
    Expected("", "changed manifests are not used.*No such file|certificate is of no use.*there is no file", "a pod's volumes go before it, and a Secret may come after it"),
    Expected("b29-installs", "trying again.*is forbidden", "a release is uninstalled while its operator begins to look at tables"),
    Expected("b26-", "not served|is not used", "its buckets do not exist"),
    Expected("b19-", "source bucket: .*([Ss]ecret|credentials|permission)|read failed|a source object could not be read", "a secret is missing, or wrong"),
    Expected("scenario-3-a-bucket", "vdt_store::schedule|read failed|a source object could not be read", "the bucket is gone"),
    Expected("scenario-5-", "the server is away", "the server is killed"),
    Expected("c35-", "disk cache|cache entries|cache directory", "the disk is too small, and full"),
    Expected("earlier-", "not served yet: state store.*failed to lookup address", "the Service by which the pods know their buckets is as new as they are"),
    Expected("c36-", "the server is away|vdt_store::schedule", "its node is gone"),
    Expected("scenario-1-only-who", "the data listener has no TLS", "keys without TLS are what is told"),
    Expected("scenario-2-", "not served|is not used", "the manifest is wrong"),
    Expected("system-faults", r"a watch failed and is begun again|watch initlist error|eof in poll|failed with (status 5\d\d|error )", "the API server is stopped"),
    Expected("system-faults", r"trying again(?!.*(\bInvalid\b|is no object|panicked))", "the API server is stopped"),
    Expected("system-faults", f"{LEASE}|waiting for the admin key|cannot ask which kinds", "the API server is stopped, and the leader is cut off from it and killed"),
    Expected("system-faults", "deleted a cache whose node is gone", "a node is deleted"),
]

"""What operators of these tests may complain of, and why. `where` is the beginning of a test's name, without `test_`."""

from lib.complaints import Expected

BEHIND_THE_PROXY = "b21_what_could_not|b22_|b23_|b24_|b25_a_leader|b31_it_is_not_ready"
LEASE = "cannot (compete for|renew) the lease|cannot give the lease up"
TRIED_AGAIN = r"trying again(?!.*(is forbidden|\bInvalid\b|is no object|panicked))"
"""Of a table, but for what no other try would change."""

EXPECTED = [
    Expected("", "trying again.*(because it is being terminated|namespaces .* not found)", "the namespace of the test before is still on its way out"),
    Expected("", "(PodMonitor|Certificate|which kinds|podmonitors|certificates).*404 page not found", "the definitions of the test before are still on their way out"),
    Expected("", "trying again.*(metadata.uid: Invalid value|Operation cannot be fulfilled|the object has been modified)", "an object was changed or made anew since it was read, and what was asked is tried again"),
    Expected("", "a watch failed and is begun again.*connection closed before message completed", "the API server ends watches when their time is over, and under load without a word"),
    Expected(BEHIND_THE_PROXY, r"kube_client::client::builder: failed with (status (409|410|429|5\d\d)|error )|kube_client::client: (eof|timeout) in poll", "the proxy refuses and cuts"),
    Expected(BEHIND_THE_PROXY, f"said the proxy|{TRIED_AGAIN}|a watch failed and is begun again(?!.*is forbidden)", "the proxy refuses, cuts and delays"),
    Expected(BEHIND_THE_PROXY, f"{LEASE}|waiting for the admin key|cannot ask which kinds", "the proxy refuses, cuts and delays"),
    Expected("b25_one_of_two", LEASE, "one is killed while it leads"),
    Expected("c36_|b26_no_granted_verb", "deleted a cache whose node is gone", "that is what is tested"),
    Expected("two_operators_of_one_table", "another operator acts upon a table", "that is what is tested"),
    Expected("a_child_that_does_not_go|a_table_that_is_made_anew", "trying again.*being deleted", "a finalizer holds a child"),
    Expected("what_the_api_server_never_takes", "kube_client::client::builder: failed with status 500", "that is what is tested; a field that it does not know is a failure of its own"),
]

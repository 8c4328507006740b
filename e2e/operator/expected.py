"""What operators of these tests may complain of, and why. `where` is the beginning of a test's name, without `test_`."""

from lib.complaints import Expected

BEHIND_THE_PROXY = "b21_what_could_not|b22_|b23_|b24_|b25_a_leader|b31_it_is_not_ready"
MEANWHILE = "metadata.uid: Invalid value|Operation cannot be fulfilled|the object has been modified"
LEFTOVERS = "because it is being terminated|namespaces .* not found|404 page not found"

EXPECTED = [
    Expected("", LEFTOVERS, "the namespace and the definitions of the test before are still on their way out"),
    Expected("", MEANWHILE, "an object was changed or made anew since it was read, and what was asked is tried again"),
    Expected("", "a watch failed and is begun again.*connection closed before message completed", "the API server ends watches when their time is over, and under load without a word"),
    Expected(BEHIND_THE_PROXY, "said the proxy|kube_client::client|kube_runtime::watcher", "the proxy refuses and cuts"),
    Expected(BEHIND_THE_PROXY, "trying again|a watch failed and is begun again|the lease|the admin key|which kinds", "the proxy refuses, cuts and delays"),
    Expected("b25_one_of_two", "the lease", "one is killed while it leads"),
    Expected("c36_|b26_no_granted_verb", "deleted a cache whose node is gone", "that is what is tested"),
    Expected("two_operators_of_one_table", "another operator acts upon a table", "that is what is tested"),
    Expected("a_child_that_does_not_go|a_table_that_is_made_anew", "trying again", "a finalizer holds a child"),
    Expected("what_the_api_server_never_takes", "trying again|failed with status 500", "that is what is tested; a field that it does not know is a failure of its own"),
]

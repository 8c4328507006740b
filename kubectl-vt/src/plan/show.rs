//! A plan for people.

use std::fmt::Write;

use vdt_operator::Preview;

use super::TablePlan;
use crate::{
    advice,
    diff::Change,
    output::{Paint, Tone},
    units::count,
};

/// Fields of a pod template that are shown, unless all are asked for.
const TEMPLATE_LINES: usize = 6;

/// Writes one plan. `wide`: all fields of the pod template.
pub(super) fn write(plan: &TablePlan, wide: bool, paint: Paint) -> String {
    let mut text = String::new();
    let title = format!("VirtualTable {}/{}", plan.namespace, plan.name);
    let (tone, verdict) = verdict(plan);
    let _ = writeln!(
        text,
        "{}: {}",
        paint.of(Tone::Strong, &title),
        paint.of(tone, verdict)
    );
    for refusal in &plan.refusals {
        let field = refusal.field.as_deref().unwrap_or_default();
        let colon = if field.is_empty() { "" } else { ": " };
        let _ = writeln!(
            text,
            "  {}{colon}{}",
            paint.of(Tone::Bad, field),
            refusal.message
        );
    }
    for change in &plan.changes {
        let _ = writeln!(text, "  {}", line(change, paint));
    }
    if let Some(follows) = &plan.follows {
        follow(&mut text, plan, follows, wide, paint);
    }
    if let Some(why) = &plan.unknown {
        let said = format!("what follows cannot be told: {why}");
        let _ = writeln!(text, "  {}", paint.of(Tone::Bad, &said));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

fn verdict(plan: &TablePlan) -> (Tone, &'static str) {
    if !plan.refusals.is_empty() {
        return (Tone::Bad, "refused by the API server");
    }
    let refused = plan
        .follows
        .as_ref()
        .and_then(|follows| follows.refused.as_ref());
    if refused.is_some() {
        return (
            Tone::Bad,
            "taken by the API server, refused by the operator",
        );
    }
    match (plan.is_new, plan.changes.is_empty()) {
        (false, true) if plan.unknown.is_some() => (Tone::Bad, "not known"),
        (true, _) => (Tone::Good, "would be created"),
        (false, true) => (Tone::Faint, "no change"),
        (false, false) => (Tone::Wait, "would change"),
    }
}

fn line(change: &Change, paint: Paint) -> String {
    let tone = match (&change.before, &change.after) {
        (serde_json::Value::Null, _) => Tone::Good,
        (_, serde_json::Value::Null) => Tone::Bad,
        _ => Tone::Wait,
    };
    paint.of(tone, &change.line())
}

fn follow(text: &mut String, plan: &TablePlan, follows: &Preview, wide: bool, paint: Paint) {
    if let Some(refused) = &follows.refused {
        let _ = writeln!(
            text,
            "  {}: {}",
            paint.of(Tone::Bad, refused.reason),
            refused.message
        );
        if let Some(next) = advice::next(refused.reason, &plan.namespace, &plan.name) {
            let _ = writeln!(text, "  next: {next}");
        }
        return;
    }
    let _ = writeln!(text, "  then");
    for said in sentences(follows) {
        let _ = writeln!(text, "    {said}");
    }
    let shown = if wide { usize::MAX } else { TEMPLATE_LINES };
    for change in plan.template.iter().take(shown) {
        let _ = writeln!(text, "      {}", line(change, paint));
    }
    if plan.template.len() > shown {
        let _ = writeln!(
            text,
            "      and {} more (-o wide)",
            plan.template.len() - shown
        );
    }
}

fn sentences(follows: &Preview) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(held) = follows.held {
        said.push(format!(
            "nothing until changes are let go on ({held}); after that:"
        ));
    }
    let after = follows.replicas_after as usize;
    match follows.replicas_before.map(|before| before as usize) {
        None => said.push(format!(
            "pods: {} would be made",
            count(after as u64, "pod")
        )),
        Some(before) if before < after => {
            said.push(format!("pods: {before} -> {after}, the others stay"))
        }
        Some(before) if before > after => said.push(format!(
            "pods: {before} -> {after}, the highest numbers go; caches of claims go with them{}",
            if after == 0 {
                " not: they are kept for when it wakes up"
            } else {
                ""
            }
        )),
        Some(_) => {}
    }
    if follows.set_anew {
        said.push(
            "the StatefulSet is made anew around its pods: claim templates cannot be changed"
                .to_owned(),
        );
    }
    if !follows.replaced.is_empty() {
        let each = match follows.max_unavailable {
            1 => "one at a time".to_owned(),
            many => format!("at most {many} at a time"),
        };
        said.push(format!(
            "pods: {} replaced, {each}, {}: their template changes",
            count(follows.replaced.len() as u64, "pod"),
            follows.replaced.join(", ")
        ));
    }
    if !follows.resized.is_empty() {
        said.push(format!(
            "pods: cpu and memory of {} change in place where the cluster can ({})",
            count(follows.resized.len() as u64, "pod"),
            follows.resized.join(", ")
        ));
    }
    if follows.told {
        said.push("pods: told of the change while they run, none is replaced".to_owned());
    }
    for (verb, objects) in [
        ("makes", &follows.created),
        ("deletes", &follows.deleted),
        ("mounts", &follows.mounted),
    ] {
        if !objects.is_empty() {
            said.push(format!("{verb} {}", objects.join(", ")));
        }
    }
    if said.is_empty() {
        said.push("nothing: pods and children stay as they are".to_owned());
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vdt_operator::Refused;

    use super::*;
    use crate::{diff::changes, plan::Refusal};

    fn plan(follows: Option<Preview>) -> TablePlan {
        TablePlan {
            namespace: "docs".to_owned(),
            name: "manuals".to_owned(),
            follows,
            ..TablePlan::default()
        }
    }

    #[test]
    fn a_roll_says_what_changes_and_which_pods_go() {
        let mut rolled = plan(Some(Preview {
            replicas_before: Some(2),
            replicas_after: 2,
            replaced: vec!["manuals-1".to_owned(), "manuals-0".to_owned()],
            max_unavailable: 1,
            mounted: vec!["Secret corp-ro".to_owned()],
            ..Preview::default()
        }));
        rolled.changes = changes(
            "spec",
            &json!({"retention": "24h"}),
            &json!({"retention": "48h"}),
        );
        rolled.template = (0..8)
            .map(|index| Change {
                path: format!("template.{index}"),
                before: json!(1),
                after: json!(2),
            })
            .collect();
        let expected = "\
VirtualTable docs/manuals: would change
  ~ spec.retention: \"24h\" -> \"48h\"
  then
    pods: 2 pods replaced, one at a time, manuals-1, manuals-0: their template changes
    mounts Secret corp-ro
      ~ template.0: 1 -> 2
      ~ template.1: 1 -> 2
      ~ template.2: 1 -> 2
      ~ template.3: 1 -> 2
      ~ template.4: 1 -> 2
      ~ template.5: 1 -> 2
      and 2 more (-o wide)
";
        assert_eq!(write(&rolled, false, Paint(false)), expected);
        assert!(write(&rolled, true, Paint(false)).contains("template.7"));
    }

    #[test]
    fn refusals_name_the_field() {
        let mut refused = plan(None);
        refused.refusals = vec![
            Refusal {
                field: Some("spec.server.replicas".to_owned()),
                message: "more than one".to_owned(),
            },
            Refusal {
                field: None,
                message: "no such field".to_owned(),
            },
        ];
        let expected = "\
VirtualTable docs/manuals: refused by the API server
  spec.server.replicas: more than one
  no such field
";
        assert_eq!(write(&refused, false, Paint(false)), expected);
        assert!(refused.is_refused());
        let by_operator = plan(Some(Preview {
            refused: Some(Refused {
                reason: "WouldDropCache",
                message: "spec.server: no".to_owned(),
            }),
            ..Preview::default()
        }));
        let text = write(&by_operator, false, Paint(false));
        assert!(
            text.contains(
                "WouldDropCache: spec.server: no\n  next: set spec.server.rollout.cachePolicy"
            ),
            "{text}"
        );
        assert!(by_operator.is_refused());
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let same = plan(Some(Preview {
            replicas_before: Some(1),
            replicas_after: 1,
            ..Preview::default()
        }));
        let expected = "VirtualTable docs/manuals: no change\n  then\n    nothing: pods and children stay as they are\n";
        assert_eq!(write(&same, false, Paint(false)), expected);
        assert!(!same.is_refused());
    }
}

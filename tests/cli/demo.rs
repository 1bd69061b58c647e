//! The demo tells its story and ends well.

use insta::assert_snapshot;

use super::program::{Ran, longshore, masked};

#[test]
fn the_demo_tells_of_a_host_that_is_taken_back_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = longshore(folder.path(), &["demo"]);
    let ran = Ran::from(&command.env("TMPDIR", &temporary).output().unwrap());
    ran.expect(0);
    assert_snapshot!(masked(&ran.out), @r#"
    ╭───────────┬────────┬─────────┬─────────────────────╮
    │ host      │ result │ version │ The shop is healthy │
    ├───────────┼────────┼─────────┼─────────────────────┤
    │ web-[1-6] │ green  │ 1.4.2   │ pass                │
    ╰───────────┴────────┴─────────┴─────────────────────╯

    6 hosts: 6 green. Took SPAN.
    Upgrade the shop
    apply: 6 hosts in 3 waves; role shop, upgrade; to 1.5.0; plan
      sha256:DIGEST

    ╭────────┬───────┬───────────┬──────┬───────────────────╮
    │ wave   │ hosts │ which     │ soak │ then              │
    ├────────┼───────┼───────────┼──────┼───────────────────┤
    │ canary │ 1     │ web-1     │ 2s   │ goes on by itself │
    │ wave 1 │ 3     │ web-[2-4] │ 1s   │ goes on by itself │
    │ wave 2 │ 2     │ web-[5,6] │ 1s   │                   │
    ╰────────┴───────┴───────────┴──────┴───────────────────╯

    Paths
      6 hosts: 1.4.2 → 1.5.0 (web-[1-6])
        minor: to 1.5.0; needs SHOP_CURRENCY

    At a glance
      time       about 14s a host, at most 7s to take it back; about 46s in all,
                 soaks included
      downtime   about 6s a host
      no return  none: a host that fails is taken back by itself
      canary     1 host of 6; every profile and version is in it
      halts      at more than 1 failed, or more than 1 unreachable, or the first
                 inconclusive host, or the same error on 2 hosts
      asked      nothing, while all goes well

    web-[1-6] (profile host, 1.4.2 → 1.5.0)
    ╭───┬────────────────────────────────┬────────┬────────────────────────────────╮
    │   │ step                           │ effect │ undo                           │
    ├───┼────────────────────────────────┼────────┼────────────────────────────────┤
    │ 1 │ Fetch the release              │ code   │ rm -rf .new 1.5.0              │
    │   │   rm -rf .new; cp -R           │        │                                │
    │   │   ~/store/shop-1.5.0 .new; (cd │        │                                │
    │   │   .new && cksum *) | cmp -     │        │                                │
    │   │   ~/store…                     │        │                                │
    │ 2 │ Say which release is meant     │ code   │ by itself                      │
    │   │   ~/srv/.env: set              │        │                                │
    │   │   SHOP_RELEASE; require        │        │                                │
    │   │   SHOP_LISTEN SHOP_CURRENCY    │        │                                │
    │ 3 │ Stop the shop                  │ code   │ ./shopctl start                │
    │   │   ./shopctl stop               │        │                                │
    │ 4 │ Switch to the release          │ code   │ rm -f current.new; [           │
    │   │   readlink current >           │        │ "$(readlink current)" =        │
    │   │   previous.new; mv -f          │        │ releases/1.5.0 ] || exit 0; ln │
    │   │   previous.new previous; rm -f │        │ -s "$(cat previous)" cur…      │
    │   │   current.new;…                │        │                                │
    │ 5 │ Start the shop                 │ code   │ ./shopctl stop                 │
    │   │   ./shopctl start              │        │                                │
    │ 6 │ The shop answers with the new  │ read   │ nothing to undo                │
    │   │ version                        │        │                                │
    │   │   http                         │        │                                │
    │   │   http://localhost:8080/health │        │                                │
    │   │   2xx                          │        │                                │
    ╰───┴────────────────────────────────┴────────┴────────────────────────────────╯
    gates: The release is in the store; There is room for another release
    health: The shop is healthy

    Rules
      - Up to 4 hosts at once within a wave.
      - 1 host may fail; one more halts the run.
      - 1 host may be unreachable; one more halts the run.
      - The first host that is inconclusive halts the run.
      - The same error on 2 hosts halts the run at once.
      - A host that fails before its point of no return is taken back, last step
        first.
    ╭───────────┬────────┬────────┬───────┬───────────────┬──────┬───────────╮
    │ host      │ wave   │ result │ steps │ version       │ down │ health    │
    ├───────────┼────────┼────────┼───────┼───────────────┼──────┼───────────┤
    │ web-1     │ canary │ done   │ 6/6   │ 1.4.2 → 1.5.0 │ <1s  │ 1/1 green │
    │ web-[2,3] │ wave 1 │ done   │ 6/6   │ 1.4.2 → 1.5.0 │ <1s  │ 1/1 green │
    │ web-[5,6] │ wave 2 │ done   │ 6/6   │ 1.4.2 → 1.5.0 │ <1s  │ 1/1 green │
    │ web-4     │ wave 1 │ undone │ 5/6   │ 1.4.2         │ <1s  │ 1/1 green │
    │           │ step `The shop answers with the new version` failed        │
    ╰───────────┴────────┴────────┴───────┴───────────────┴──────┴───────────╯

    error: `web-4` failed and was taken back to where it was
      cause: step `The shop answers with the new version` failed
      cause: http http://localhost:8080/health 2xx: status 503 (expected 2xx):
        {"status":"error","version":"1.5.0","reason":"this host's library is too old
        for…
      undone: Start the shop, Switch to the release, Stop the shop, Say which
        release is meant, Fetch the release

    hint: once mended, `longshore retry 0002 --failed` takes them through the plan
      again
    hint: `longshore history show 0002 --host web-4` prints everything that was said
      there

    6 hosts: 5 done, 1 undone. Took SPAN.
    still behind: web-4 on 1.4.2, for SPAN
    exit code 1: a host failed
    ╭───────────────┬────────┬─────────┬─────────────────────╮
    │ host          │ result │ version │ The shop is healthy │
    ├───────────────┼────────┼─────────┼─────────────────────┤
    │ web-[1-3,5,6] │ green  │ 1.5.0   │ pass                │
    │ web-4         │ green  │ 1.4.2 * │ pass                │
    ╰───────────────┴────────┴─────────┴─────────────────────╯
      *  not 1.5.0, which 5 hosts have

    6 hosts: 6 green. Took SPAN.
    "#);
    for line in [
        "1. How is the fleet?  $ longshore check all",
        "apply Upgrade the shop: 6 hosts in 3 waves",
        "web-4: is taken back: step `The shop answers with the new version` failed",
        "soak of wave 2: pass",
        "Five hosts run 1.5.0. web-4 failed its check and was taken back to 1.4.2 by itself",
    ] {
        assert!(ran.err.contains(line), "no `{line}` in\n{}", ran.err);
    }
    assert_eq!(ran.err.matches("connected to").count(), 0, "{}", ran.err);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "something was left behind");
    assert!(!folder.path().join(".longshore").exists());
}

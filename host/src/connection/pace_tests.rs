use std::sync::Arc;

use super::*;

const CONNECTION: Key = Key([7; 16]);

#[expect(clippy::disallowed_methods, reason = "the runtime's own clock, which these tests have stopped")]
fn clock() -> impl Fn() -> Duration {
    let start = tokio::time::Instant::now();
    move || tokio::time::Instant::now() - start
}

const fn patient(seconds: u64) -> Patience {
    Patience { most: Duration::from_secs(seconds), yields: false }
}

const fn yielding(seconds: u64) -> Patience {
    Patience { most: Duration::from_secs(seconds), yields: true }
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_in_the_order_of_asking_at_the_pace() {
    let (paces, clock) = (Arc::new(Paces::default()), Arc::new(clock()));
    let order = Arc::new(Mutex::new(Vec::new()));
    let asking: Vec<_> = (0..25)
        .map(|number| {
            let (paces, clock, order) = (paces.clone(), clock.clone(), order.clone());
            tokio::spawn(async move {
                paces.turn(CONNECTION, Some(5.0), patient(30), || clock()).await.unwrap();
                order.lock().unwrap().push((number, clock().as_millis()));
            })
        })
        .collect();
    for one in asking {
        one.await.unwrap();
    }
    let order = order.lock().unwrap();
    assert!(order.iter().map(|(number, _)| *number).eq(0..25), "{order:?}");
    // Five at once, then five a second.
    assert_eq!(order[4].1, 0);
    assert!((3995..=4030).contains(&order[24].1), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_its_patience_and_those_sent_away_come_back_one_by_one() {
    let (paces, clock) = (Paces::default(), clock());
    let mut away = Vec::new();
    for _ in 0..20 {
        if let Err(NoTurn::Later(wait)) = paces.turn(CONNECTION, Some(10.0), patient(0), &clock).await {
            away.push(wait);
        }
    }
    assert_eq!(away.len(), 10);
    assert!(away.windows(2).all(|pair| pair[1] >= pair[0] + Duration::from_millis(99)), "{away:?}");
    assert_eq!(clock(), Duration::ZERO, "nobody waited");
}

#[tokio::test(start_paused = true)]
async fn who_can_come_back_leaves_when_others_wait_already() {
    let (paces, clock) = (Arc::new(Paces::default()), Arc::new(clock()));
    paces.turn(CONNECTION, Some(1.0), patient(0), || clock()).await.unwrap();
    let waiting: Vec<_> = (0..6)
        .map(|_| {
            let (paces, clock) = (paces.clone(), clock.clone());
            tokio::spawn(async move { paces.turn(CONNECTION, None, yielding(30), || clock()).await })
        })
        .collect();
    let mut ends = Vec::new();
    for one in waiting {
        ends.push(one.await.unwrap());
    }
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 4, "{ends:?}");
    paces.turn(CONNECTION, None, yielding(30), || clock()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_less_moves_those_who_wait_already() {
    let (paces, clock) = (Arc::new(Paces::default()), Arc::new(clock()));
    paces.turn(CONNECTION, Some(1.0), patient(0), || clock()).await.unwrap();
    let waiting = {
        let (paces, clock) = (paces.clone(), clock.clone());
        tokio::spawn(async move { paces.turn(CONNECTION, None, patient(30), || clock()).await.map(|()| clock()) })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    paces.record(CONNECTION, clock(), Signal::SlowDown(Some(Duration::from_secs(20))), 0.5);
    let went = waiting.await.unwrap().unwrap();
    assert!(went >= Duration::from_millis(20_500), "{went:?}");
    let budget = paces.budget(CONNECTION, clock()).unwrap();
    assert!((budget.rate - 0.5).abs() < 1e-9 && (budget.full - 1.0).abs() < 1e-9, "{budget:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_is_not_counted_for_ever() {
    let (paces, clock) = (Paces::default(), clock());
    paces.turn(CONNECTION, Some(1.0), patient(0), &clock).await.unwrap();
    for _ in 0..20 {
        let turn = paces.turn(CONNECTION, None, yielding(60), &clock);
        let _ = tokio::time::timeout(Duration::from_millis(1), turn).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    paces.turn(CONNECTION, None, yielding(1), &clock).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_budget_says_what_is_left_and_for_how_long_nothing_is() {
    let (paces, clock) = (Paces::default(), clock());
    assert_eq!(paces.budget(CONNECTION, clock()), None);
    for _ in 0..3 {
        paces.turn(CONNECTION, Some(8.0), patient(0), &clock).await.unwrap();
    }
    assert_eq!(paces.budget(CONNECTION, clock()).unwrap().left, 5);
    paces.record(CONNECTION, clock(), Signal::SlowDown(Some(Duration::from_secs(30))), 0.5);
    let budget = paces.budget(CONNECTION, clock()).unwrap();
    assert_eq!((budget.left, budget.silent_for), (0, Duration::from_secs(30)));
    assert!((budget.rate - 4.0).abs() < 1e-9);
}

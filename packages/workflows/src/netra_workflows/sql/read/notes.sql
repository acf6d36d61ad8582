-- What was odd and yet read, by provider; and who rounds EffectiveCost to whole units while BilledCost has fractions.
select
    provider, count(*) filter (where odd_date) as dates, count(*) filter (where odd_amount) as amounts,
    count(*) filter (where odd_tags) as tags,
    count(*) filter (where paid and costs <> floor(costs)) > 1
    and bool_and(not paid or costs = floor(costs) or share = floor(share)) as rounded
from (
    select
        provider, odd_date, odd_amount, odd_tags, category = 'Usage' and commitment_status is null as paid,
        cast(billed as double) as costs, cast(coalesce(effective, billed) as double) as share
    from staged where fault is null
) as kept
group by provider

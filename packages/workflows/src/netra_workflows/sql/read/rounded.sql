-- Who rounds EffectiveCost to whole units while BilledCost has fractions. Almost nobody does, and a few rows show it.
with paid as not materialized (
    select record, provider, billed, coalesce(effective, billed) as share
    from staged where fault is null and category = 'Usage' and commitment_status is null
)

select provider
from paid
where
    provider not in (
        select provider from (select * from paid where record % 64 = 0 limit 20000) as few
        where cast(billed as double) <> floor(cast(billed as double)) and cast(share as double) <> floor(cast(share as double))
    )
group by provider
having
    count(*) filter (where cast(billed as double) <> floor(cast(billed as double))) > 1
    and bool_and(
        cast(billed as double) = floor(cast(billed as double)) or cast(share as double) = floor(cast(share as double))
    )
order by provider

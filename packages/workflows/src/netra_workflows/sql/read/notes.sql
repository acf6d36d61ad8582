-- What was odd and yet read, by provider; and who rounds EffectiveCost to whole units while BilledCost has fractions.
select
    provider, count(*) filter (where odd_date) as dates, count(*) filter (where odd_amount) as amounts,
    count(*) filter (where odd_tags) as tags,
    count(*) filter (where paid and billed <> trunc(billed)) > 1
    and bool_and(not paid or billed = trunc(billed) or effective = trunc(effective)) as rounded
from (
    select *, category = 'Usage' and commitment_status is null as paid from staged where fault is null
) as kept
group by provider

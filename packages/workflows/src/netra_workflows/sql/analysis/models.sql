-- What AI models were billed, by what was bought of them: input, output, read from or written to a cache.
select
    meter.provider, meter.model, coalesce(meter.token_direction, '') as direction,
    coalesce(meter.token_cache, '') as cache, charge.currency, sum(charge.quantity) as quantity,
    sum(charge.billed) as billed
from charge join meter on charge.meter_id = meter.meter_id
where charge.category = 'Usage' and meter.model is not null
group by
    meter.provider, meter.model, coalesce(meter.token_direction, ''), coalesce(meter.token_cache, ''), charge.currency

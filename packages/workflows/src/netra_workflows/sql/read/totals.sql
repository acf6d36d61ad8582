select
    meter.provider, charge.currency, count(*) as charges, sum(billed) as billed,
    coalesce(sum(billed) filter (where category = 'Usage'), 0) as usage,
    coalesce(sum(billed) filter (where category = 'Purchase'), 0) as purchases,
    coalesce(sum(billed) filter (where category = 'Tax'), 0) as tax,
    coalesce(sum(billed) filter (where category = 'Credit'), 0) as credits,
    coalesce(sum(billed) filter (where category = 'Adjustment'), 0) as adjustments
from charge join meter on charge.meter_id = meter.meter_id
where charge.source_id = $source or $source is null
group by meter.provider, charge.currency
order by meter.provider, charge.currency

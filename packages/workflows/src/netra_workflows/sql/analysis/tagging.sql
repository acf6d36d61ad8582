-- How much usage bears no tag; rows whose bill has no column for tags count for neither side.
select
    meter.provider, charge.currency, sum(charge.billed) as usage,
    sum(case when charge.tagged then 0 else charge.billed end) as untagged,
    sum(case when charge.tagged then 0 else 1 end) as untagged_rows
from charge join meter on charge.meter_id = meter.meter_id
where charge.category = 'Usage' and not charge.correction and charge.tagged is not null
group by meter.provider, charge.currency

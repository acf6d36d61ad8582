insert into charge
select
    $source, record, meter_id, account, currency, period_start, started, ended, cast(started as date),
    isodow(started), category, correction, billed, coalesce(effective, billed), quantity, region, resource,
    commitment, commitment_kind, commitment_status, eligible, tagged
from staged where fault is null

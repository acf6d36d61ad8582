-- The rows that prove each finding.
select
    taken.precedence, taken.provider, taken.account, taken.currency, taken.source_id,
    array_agg(taken.record) as records
from taken join net
    on
        taken.precedence = net.precedence and taken.provider = net.provider and taken.account = net.account
        and taken.currency = net.currency and taken.resource = net.resource and taken.rate = net.rate
group by taken.precedence, taken.provider, taken.account, taken.currency, taken.source_id

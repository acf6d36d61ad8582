-- What each resource comes to under its rule; one whose rows come to nothing, or less, is nothing to save on.
select
    precedence, provider, account, currency, resource, rate, sum(billed) as billed, sum(unused) as unused
from taken
group by precedence, provider, account, currency, resource, rate
having
    sum(billed) > 0
    or (
        precedence = (select precedence from rule where id = 'unused_commitment')
        and sum(billed) = 0 and sum(unused) > 0
    )

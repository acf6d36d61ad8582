-- finopsfoundation/focus_converters (MIT), aws-cur: what a line item's type makes of its costs.
select
    record, coalesce(told(NetUnblendedCost), told(UnblendedCost)) as BilledCost,
    case
        when LineItemType = 'SavingsPlanCoveredUsage' then told(SavingsPlanCost)
        when LineItemType = 'SavingsPlanRecurringFee'
            then cast(amount(told(SavingsPlanTotal)) - amount(told(SavingsPlanUsed)) as varchar)
        when LineItemType in ('SavingsPlanNegation', 'SavingsPlanUpfrontFee') then '0'
        when LineItemType = 'DiscountedUsage' then told(ReservationCost)
        when LineItemType = 'RIFee'
            then cast(amount(told(ReservationUnusedUpfront)) + amount(told(ReservationUnusedFee)) as varchar)
        when LineItemType = 'Fee' and told(Reservation) is not null then '0'
        else told(UnblendedCost)
    end as EffectiveCost,
    coalesce(cast(amount(told(ListRate)) * cast(amount(told(UsageAmount)) as double) as varchar), told(ListCost))
        as ListCost,
    cast(null as varchar) as ContractedCost, told(Payer) as BillingAccountId, told(Account) as SubAccountId,
    told(Currency) as BillingCurrency, told(PeriodStart) as BillingPeriodStart,
    told(UsageStart) as ChargePeriodStart, told(UsageEnd) as ChargePeriodEnd, mapped.focus as ChargeCategory,
    cast(null as varchar) as ChargeClass, coalesce(told(Description), told(UsageType)) as ChargeDescription,
    case
        when LineItemType in ('RIFee', 'SavingsPlanRecurringFee') then 'Recurring'
        when mapped.focus = 'Usage' then 'Usage-Based'
        else 'One-Time'
    end as ChargeFrequency,
    case
        when LineItemType in ('SavingsPlanCoveredUsage', 'SavingsPlanNegation', 'DiscountedUsage') then 'Committed'
        when told(PurchaseOption) = 'Spot Instances' then 'Dynamic'
        else 'Standard'
    end as PricingCategory,
    told(UsageAmount) as PricingQuantity, told(Unit) as PricingUnit, 'AWS' as ProviderName,
    coalesce(told(LegalEntity), told(InvoicingEntity)) as PublisherName, told(Region) as RegionId,
    told(Resource) as ResourceId, told(ProductFamily) as ResourceType, told(Product) as ServiceName,
    cast(null as varchar) as ServiceCategory, coalesce(told(RateCode), told(RateId)) as SkuPriceId,
    cast(null as varchar) as SkuPriceDetails, coalesce(told(SavingsPlan), told(Reservation)) as CommitmentDiscountId,
    case
        when told(SavingsPlan) is not null then 'Savings Plan'
        when told(Reservation) is not null then 'Reserved Instance'
    end as CommitmentDiscountType,
    case
        when LineItemType in ('SavingsPlanCoveredUsage', 'DiscountedUsage') then 'Used'
    end as CommitmentDiscountStatus,
    cast(null as varchar) as CommitmentProgramEligibilityDetails, told(Tags) as Tags,
    told(InstanceType) as InstanceType
from raw left join mapped
    on mapped.format = 'aws' and mapped.focus_column = 'ChargeCategory' and mapped.found = raw.LineItemType

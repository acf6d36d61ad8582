-- What CSV's reader does by itself: the words that publishers write for null.
create or replace macro nullif_told(cell) as
    case when cell in ('', 'NULL', 'null', 'None') then null else cell end;

-- A decimal, or null where the cell is none. `$1,234.50 ` is read, `1.234,50` and `1_000` are not.
create or replace macro amount(cell) as
    case
        when cell is null or contains(cell, '_') then null
        else coalesce(
            try_cast(cell as decimal(38, 18)),
            case
                when regexp_matches(cell, '^-?[$][0-9]{1,3}(,[0-9]{3})*([.][0-9]+)? *$')
                then try_cast(replace(replace(trim(cell), '$', ''), ',', '') as decimal(38, 18))
            end
        )
    end;

-- Whether a cell that no rule reckons with is a number at all.
create or replace macro numeric_or_null(cell) as
    case
        when cell is null then true
        when try_cast(cell as double) is not null then isfinite(try_cast(cell as double)) and not contains(cell, '_')
        else amount(cell) is not null
    end;

-- An instant in UTC, or null. Where no zone is told it is UTC; dates with slashes are month/day/year.
create or replace macro instant(cell) as
    case
        when cell is null or not (cell between '0' and ':') then null
        when contains(cell, '/') then case  -- a cast would take 10/1/25 for the 25th of January of the year 10
            when regexp_matches(cell, '^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$') then try_strptime(cell, '%m/%d/%Y')
            when regexp_matches(cell, '^[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}$') then try_strptime(cell, '%m/%d/%y')
        end
        when contains(substr(cell, 11), '+') or contains(substr(cell, 11), '-')
            then cast(timezone('UTC', try_cast(cell as timestamptz)) as timestamp)
        else try_cast(cell as timestamp)  -- it takes a Z, and would ignore an offset
    end;

-- Azure leaves out the braces of JSON now and then.
create or replace macro braced(cell) as
    case when cell is null or starts_with(trim(cell), '{') then cell else '{' || cell || '}' end;

create or replace macro member(cell, path) as
    case when json_valid(cell) then json_extract_string(cell, path) end;

-- Which return each form that was sent became. A form is sent once, however often its button is pressed.
CREATE TABLE submission (
    token     TEXT NOT NULL PRIMARY KEY, -- in the form since it was made
    return_id TEXT NOT NULL
);
